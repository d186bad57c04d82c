package wal

import (
	"fmt"
	"hash/crc32"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// maxScratch bounds what is kept between writes, in buffers of 24 bytes.
const maxScratch = 256

var padding [frameAlign]byte

// Append adds records as one group: one frame, one write. Their LSNs must
// continue the log. They are durable after a Sync that begins after Append
// returned. The log keeps no reference to them.
//
// If it fails, none of them is in the log. The next call may succeed, unless
// the error is ErrFailed.
func (l *Log) Append(records []codec.Record) error {
	if len(records) == 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	g, err := newGroup(records, l.LastLSN()+1)
	if err != nil {
		return err
	}
	if l.torn {
		if err := l.wipe(); err != nil {
			return err
		}
	}
	if err := l.makeRoom(g); err != nil {
		return err
	}
	return l.write(g)
}

// group is what one Append adds.
type group struct {
	records []codec.Record
	frame   frameHeader // but for what depends on the segment
}

func newGroup(records []codec.Record, next uint64) (group, error) {
	var length int64
	for i, r := range records {
		if n, err := codec.PeekLen(r); err != nil || n != len(r) {
			return group{}, fmt.Errorf("%w: a record to append has %d bytes and claims %d", codec.ErrCorrupt, len(r), n)
		}
		if r.LSN() != next+uint64(i) {
			return group{}, fmt.Errorf("cannot append LSN %d: the log continues with %d", r.LSN(), next+uint64(i))
		}
		length += int64(len(r))
	}
	if length > maxGroupLen {
		return group{}, fmt.Errorf("cannot append a group of %d bytes: at most %d", length, int64(maxGroupLen))
	}
	return group{records, frameHeader{first: next, count: uint32(len(records)), length: uint32(length)}}, nil
}

func (g group) last() codec.Record { return g.records[len(g.records)-1] }

// room is what a segment must have left for the group, and behind it for a clean end.
func (g group) room() int64 { return frameLen(int64(g.frame.length)) + frameHeaderLen }

// write puts the group's frame behind the last one and makes it visible.
func (l *Log) write(g group) error {
	x := l.view.Load().active
	f := g.frame
	f.synced = l.synced.Load()
	f.body = x.seg.seed
	for _, r := range g.records {
		f.body = crc32.Update(f.body, codec.Castagnoli, r)
	}
	if err := l.writeFrame(f, x, g.records); err != nil {
		err = fmt.Errorf("write to the log: %w", err)
		l.torn, l.marked = true, false
		if failed := l.wipe(); failed != nil {
			err = fmt.Errorf("%w; %w", err, failed)
		}
		return err
	}
	l.marked = false
	l.grow(g, x.end, x.end+frameLen(int64(f.length)))
	return nil
}

func (l *Log) writeFrame(f frameHeader, x extent, records []codec.Record) error {
	var header [frameHeaderLen]byte
	f.put(header[:], x.seg.seed)
	l.bufs = append(l.bufs[:0], header[:])
	for _, r := range records {
		l.bufs = append(l.bufs, r)
	}
	end := x.end + frameHeaderLen + int64(f.length)
	l.bufs = append(l.bufs, padding[:alignUp(end)-end])
	_, err := l.w.WritevAt(l.bufs, x.end)
	if clear(l.bufs); cap(l.bufs) > maxScratch {
		l.bufs = nil
	}
	return err
}

// grow makes a group that was written at off visible to readers.
func (l *Log) grow(g group, off, end int64) {
	x := l.view.Load().active
	x.seg.idx.note(indexEntry{lsn: g.frame.first, off: off, time: g.records[0].Time()})
	if x.empty() {
		x.firstTime = g.records[0].Time()
	}
	x.last, x.lastTime, x.end = g.frame.last(), g.last().Time(), end
	l.frames++
	l.publish(func(v view) *view {
		v.active, v.frame = x, off
		return &v
	})
	if l.next == nil && end > x.seg.length/2 {
		l.prepare()
	}
}

// wipe makes sure that what a failed write left can't be taken for a frame.
func (l *Log) wipe() error {
	var header [frameHeaderLen]byte
	if _, err := l.w.WritevAt([][]byte{header[:]}, l.view.Load().active.end); err != nil {
		return fmt.Errorf("wipe a failed write to the log: %w", err)
	}
	l.torn = false
	return l.sync(true)
}

// makeRoom goes on to the next segment if the active one is too full for the
// group. Nothing is written there before all of the active one is durable, so
// that only the log's last part can have a torn end.
func (l *Log) makeRoom(g group) error {
	x := l.view.Load().active
	if x.end+g.room() <= x.seg.length {
		return nil
	}
	if err := l.sync(false); err != nil {
		return err
	}
	seg, w, err := l.nextSegment(g)
	if err != nil {
		return err
	}
	l.switchTo(seg, w, g.records[0].Time())
	return nil
}

// nextSegment is the prepared segment, or one made now if there is none, if
// making it failed, or if it is too short.
func (l *Log) nextSegment(g group) (*segment, vfs.File, error) {
	x := l.view.Load().active
	length := max(l.nextLength(x.seg.length), alignBlock(framesStart+g.room()))
	if p := l.next; p != nil {
		<-p.done
		l.next = nil
		if err := l.healthy(); err != nil {
			return nil, nil, err
		}
		if p.err == nil && p.seg.length >= framesStart+g.room() {
			return p.seg, p.w, nil
		}
		if p.err == nil {
			l.closeQuietly(p.w)
			l.addGarbage(p.seg.path)
		}
	}
	seg, w, err := l.build(l.spec(length, continued(x), x.last+1))
	return seg, w, l.failIfUnsure(err)
}

// continued is the number of the segment that one after x continues: x itself,
// unless there is nothing in it.
func continued(x extent) uint64 {
	if x.empty() {
		return x.seg.prev
	}
	return x.seg.number
}

// alignBlock rounds a segment's length up to whole blocks.
func alignBlock(n int64) int64 { return (n + framesStart - 1) &^ (framesStart - 1) }

// switchTo makes seg the active segment. t is the time of the record that will
// come first in it.
func (l *Log) switchTo(seg *segment, w vfs.File, t int64) {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	l.closeQuietly(l.w)
	l.w, l.marked, l.frames = w, false, 0
	l.publish(func(v view) *view {
		if v.active.empty() {
			v.active.seg.retire()
			l.garbage = append(l.garbage, v.active.seg.path)
		} else {
			v.closed = append(v.closed, v.active)
		}
		next := v.last() + 1
		v.active = extent{seg: seg, first: next, last: next - 1, firstTime: t, lastTime: t, end: framesStart}
		v.frame = 0
		return &v
	})
}

// closeQuietly closes a file that holds nothing that isn't durable.
func (l *Log) closeQuietly(f vfs.File) {
	if err := f.Close(); err != nil {
		l.o.Logger.Warn("cannot close a segment", "dir", l.o.Dir, "error", err)
	}
}

// Sync makes durable what was appended before the call. The first error is
// final: what the disk holds is unknown until the log is opened again.
func (l *Log) Sync() error { return l.sync(false) }

// sync is Sync; always says to sync even if nothing was appended.
func (l *Log) sync(always bool) error {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	if l.w == nil {
		return ErrClosed
	}
	if err := l.healthy(); err != nil {
		return err
	}
	last := l.LastLSN()
	if last == l.synced.Load() && !always {
		return nil
	}
	if err := l.w.SyncData(); err != nil {
		return l.fail(fmt.Errorf("sync the log: %w", err))
	}
	l.synced.Store(last)
	return nil
}

// markEnd syncs, and writes a clean end behind the last frame, unless one is there.
func (l *Log) markEnd() error {
	if err := l.sync(false); err != nil {
		return err
	}
	if l.marked || l.torn {
		return nil
	}
	v := l.view.Load()
	mark := cleanEnd(v.last(), v.active.seg.seed)
	if err := l.writeFrame(mark, v.active, nil); err != nil {
		return fmt.Errorf("write the log's clean end: %w", err)
	}
	return l.sync(true)
}

// cleanEnd is the frame that says: everything up to last is durable.
func cleanEnd(last uint64, seed uint32) frameHeader {
	return frameHeader{first: last + 1, synced: last, body: seed}
}
