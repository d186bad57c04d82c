package wal

import (
	"errors"
	"fmt"
	"slices"

	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// asideChunk is how much of what is cut off is handed over at once.
const asideChunk = 1 << 20

// TruncateAfter drops the records above lsn. First it hands them to aside,
// whole records back to back, in one call or more; aside must not call the log.
// Then a new segment is made whose header names lsn+1; when that is durable,
// and not before, the records are gone, also after a crash.
func (l *Log) TruncateAfter(lsn uint64, aside func(records []byte) error) error {
	l.maint.Lock()
	defer l.maint.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	v := l.view.Load()
	if lsn+1 < v.first() {
		return fmt.Errorf("cut the log off behind LSN %d: %w: it begins with %d", lsn, ErrTrimmed, v.first())
	}
	if lsn >= v.last() {
		return nil
	}
	if err := l.setAside(lsn, aside); err != nil {
		return err
	}
	if err := l.sync(false); err != nil {
		return err
	}
	return l.cutOff(v, lsn)
}

// setAside hands over what lies above lsn.
func (l *Log) setAside(lsn uint64, aside func(records []byte) error) error {
	r, err := l.NewReader(lsn + 1)
	if err != nil {
		return err
	}
	for {
		chunk, _, _, err := r.Next(noLimit, asideChunk)
		if err == nil && chunk != nil {
			err = aside(chunk)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("set aside what is cut off the log: %w", err), r.Close())
		}
		if chunk == nil {
			return r.Close()
		}
	}
}

// cutOff makes the segment that begins with lsn+1 and forgets what it replaces.
func (l *Log) cutOff(v *view, lsn uint64) error {
	closed, dropped := split(v, lsn)
	prev := uint64(0)
	if len(closed) > 0 {
		prev = closed[len(closed)-1].seg.number
	}
	l.forgetNext()
	seg, w, err := l.build(l.spec(l.o.minSegmentSize(), prev, lsn+1))
	if err != nil {
		return l.failIfUnsure(err)
	}
	l.replaceTail(closed, seg, w, lsn)
	for _, s := range dropped {
		if err := l.discard(s.path, s.length, s.number, s.retire()); err != nil {
			l.o.Logger.Warn("cannot remove a segment that was cut off", "path", s.path, "error", err)
		}
	}
	return l.healthy()
}

// forgetNext gives up the prepared segment: what follows the active one is another.
// Called with mu held.
func (l *Log) forgetNext() {
	if l.next == nil {
		return
	}
	if err := l.next.close(); err != nil {
		l.o.Logger.Warn("cannot close a segment", "dir", l.o.Dir, "error", err)
	}
	if l.next.seg != nil {
		l.addGarbage(l.next.seg.path)
	}
	l.next = nil
}

// split divides the segments into what stays, cut off behind lsn, and those of
// which nothing stays.
func split(v *view, lsn uint64) (closed []extent, dropped []*segment) {
	for _, x := range v.extents() {
		switch {
		case x.first > lsn:
			dropped = append(dropped, x.seg)
		case x.last > lsn:
			x.last, x.end = lsn, 0
			fallthrough
		default:
			closed = append(closed, x)
		}
	}
	return slices.Clip(closed), dropped
}

func (l *Log) replaceTail(closed []extent, seg *segment, w vfs.File, lsn uint64) {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	l.closeQuietly(l.w)
	l.w, l.marked, l.torn = w, false, false
	l.synced.Store(lsn)
	var t int64
	if len(closed) > 0 {
		t = closed[len(closed)-1].firstTime
	}
	l.publish(func(v view) *view {
		return &view{
			closed: closed,
			active: extent{seg: seg, first: lsn + 1, last: lsn, firstTime: t, lastTime: t, end: framesStart},
			cuts:   append(slices.Clip(v.cuts), lsn),
		}
	})
}
