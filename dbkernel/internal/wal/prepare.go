package wal

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"syscall"

	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// maxSpares bounds how many trimmed files are kept to be used again.
const maxSpares = 4

// segmentSpec says what segment to make.
type segmentSpec struct {
	header segHeader
	zero   bool // write zeros, so that no later fdatasync has to journal an extent
	// fill writes what the segment shall hold before it counts. May be nil.
	fill func(f vfs.File, h segHeader) error
}

// spec takes the next number for a segment that continues prev. first is 0
// where it can't be known yet.
func (l *Log) spec(length int64, prev, first uint64) segmentSpec {
	s := segmentSpec{header: segHeader{
		number: l.number, prev: prev, length: length, first: first, lineage: l.o.Lineage, seed: newSeed(),
	}}
	l.number++
	return s
}

// newSeed draws the random number that makes frames of earlier uses of a file invalid.
func newSeed() uint32 {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return binary.LittleEndian.Uint32(b[:])
}

// unsureError is an error after which it is unknown what is on the disk. The
// log must not go on: a segment that names its first LSN may be there, and what
// is then appended to the one before it would not count.
type unsureError struct{ error }

func (e unsureError) Unwrap() error { return e.error }

// failIfUnsure freezes the log if err says that it must not go on.
func (l *Log) failIfUnsure(err error) error {
	var unsure unsureError
	if errors.As(err, &unsure) {
		return l.fail(err)
	}
	return err
}

// build makes a segment: under a name of its own at first, and under a
// segment's name when all of it is durable.
func (l *Log) build(s segmentSpec) (*segment, vfs.File, error) {
	f, temp, fresh, err := l.takeFile(s.header)
	if err != nil {
		return nil, nil, fmt.Errorf("make log segment %d: %w", s.header.number, err)
	}
	seg := newSegment(l.o, s.header)
	if err := l.fillFile(f, s, fresh); err != nil {
		return nil, nil, fmt.Errorf("make log segment %d: %w", s.header.number, errors.Join(err, f.Close(), l.o.FS.Remove(temp)))
	}
	if f, err = l.install(f, temp, seg.path); err != nil {
		return nil, nil, unsureError{fmt.Errorf("make log segment %d: %w", s.header.number, err)}
	}
	return seg, f, nil
}

// install gives a finished file a segment's name, durably, and opens it under
// that name, which errors of it will tell.
func (l *Log) install(f vfs.File, temp, path string) (vfs.File, error) {
	if err := f.Close(); err != nil {
		return nil, err
	}
	if err := l.o.FS.Rename(temp, path); err != nil {
		return nil, err
	}
	if err := l.o.FS.SyncDir(l.o.Dir); err != nil {
		return nil, err
	}
	return l.o.FS.Open(path)
}

// takeFile opens a file to make a segment of: a spare one if there is one of
// that length, else a new one with its blocks reserved.
func (l *Log) takeFile(h segHeader) (f vfs.File, path string, fresh bool, err error) {
	if spare := l.takeSpare(h.length); spare != "" {
		f, err = l.o.FS.Open(spare)
		return f, spare, false, err
	}
	path = fileName(l.o.Dir, preparePrefix, h.number)
	f, err = l.o.FS.Create(path)
	if errors.Is(err, fs.ErrExist) {
		if err := l.o.FS.Remove(path); err != nil {
			return nil, "", false, err
		}
		f, err = l.o.FS.Create(path)
	}
	if err != nil {
		return nil, "", false, err
	}
	if err := f.Allocate(0, h.length); err != nil {
		return nil, "", false, errors.Join(err, f.Close(), l.o.FS.Remove(path))
	}
	return f, path, true, nil
}

func (l *Log) fillFile(f vfs.File, s segmentSpec, fresh bool) error {
	if fresh && s.zero {
		if err := writeZeros(f, s.header.length); err != nil {
			return err
		}
	}
	if _, err := f.WritevAt([][]byte{s.header.block()}, 0); err != nil {
		return err
	}
	if s.fill != nil {
		if err := s.fill(f, s.header); err != nil {
			return err
		}
	}
	return unsureUnlessFull(f.Sync())
}

// unsureUnlessFull judges the error of a sync of a file that isn't part of the
// log yet: a full disk is no reason to stop.
func unsureUnlessFull(err error) error {
	if err == nil || noSpace(err) {
		return err
	}
	return unsureError{err}
}

// noSpace reports whether err means that the disk, or a quota on it, is full.
func noSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

var zeros [64 << 10]byte

// writeZeros overwrites a whole file with zeros. It syncs every mebibyte: one
// burst of a large segment would hold up the syncs of groups.
func writeZeros(f vfs.File, length int64) error {
	bufs := slices.Repeat([][]byte{zeros[:]}, 16)
	for off := int64(0); off < length; {
		batch := bufs
		if left := length - off; left < int64(len(bufs)*len(zeros)) {
			batch = [][]byte{zeros[:min(left, int64(len(zeros)))]}
		}
		n, err := f.WritevAt(batch, off)
		if err != nil {
			return err
		}
		if err := f.SyncData(); err != nil {
			return unsureUnlessFull(err)
		}
		off += int64(n)
	}
	return nil
}

func (l *Log) takeSpare(length int64) string {
	l.pub.Lock()
	defer l.pub.Unlock()
	if length != l.o.SegmentSize || len(l.spares) == 0 {
		return ""
	}
	path := l.spares[len(l.spares)-1]
	l.spares = l.spares[:len(l.spares)-1]
	return path
}

func (l *Log) addGarbage(paths ...string) {
	l.pub.Lock()
	defer l.pub.Unlock()
	l.garbage = append(l.garbage, paths...)
}

// discard takes a retired segment's file out of the log's directory, durably,
// before anything else may happen to it: it becomes a spare if nobody reads it
// and it has the usual length, else it is removed. Called with maint held.
func (l *Log) discard(path string, length int64, number uint64, free bool) error {
	l.pub.Lock()
	spare := ""
	if free && length == l.o.SegmentSize && len(l.spares) < maxSpares {
		spare = fileName(l.o.Dir, sparePrefix, number)
	}
	l.pub.Unlock()
	err := l.takeAway(path, spare)
	if err != nil {
		l.addGarbage(path)
		return fmt.Errorf("remove log segment %d: %w", number, err)
	}
	if err := l.o.FS.SyncDir(l.o.Dir); err != nil {
		return l.fail(fmt.Errorf("sync the log's directory: %w", err))
	}
	if spare != "" {
		l.pub.Lock()
		defer l.pub.Unlock()
		l.spares = append(l.spares, spare)
	}
	return nil
}

// takeAway renames a file to spare, or removes it if spare is empty.
func (l *Log) takeAway(path, spare string) error {
	if spare != "" {
		return l.o.FS.Rename(path, spare)
	}
	return l.o.FS.Remove(path)
}

// collect removes what is no part of the log. Until that is done nothing else
// may be: a file left behind in the middle would look like the edge of a gap.
// Called with maint held.
func (l *Log) collect() error {
	l.pub.Lock()
	garbage := l.garbage
	l.garbage = nil
	l.pub.Unlock()
	if len(garbage) == 0 {
		return nil
	}
	for i, path := range garbage {
		if err := l.o.FS.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			l.addGarbage(garbage[i:]...)
			return fmt.Errorf("remove an unused log segment: %w", err)
		}
	}
	if err := l.o.FS.SyncDir(l.o.Dir); err != nil {
		return l.fail(fmt.Errorf("sync the log's directory: %w", err))
	}
	return nil
}

// preparation is a segment being made in the background.
type preparation struct {
	spec segmentSpec
	done chan struct{} // closed when seg, w and err are set
	seg  *segment
	w    vfs.File
	err  error
}

// close waits and lets the file go; the segment stays unused on the disk.
func (p *preparation) close() error {
	<-p.done
	if p.w == nil {
		return nil
	}
	return p.w.Close()
}

// zeroBelow is the average length of a group up to which the next segment is
// written with zeros, in bytes. Each fdatasync of small groups would journal the
// conversion of an extent, which costs more than writing the zeros; with large
// groups the zeros would double what is written.
const zeroBelow = 32 << 10

// prepare begins to make the segment after the active one. Called with mu held.
func (l *Log) prepare() {
	x := l.view.Load().active
	active := x.seg
	p := &preparation{done: make(chan struct{})}
	p.spec = l.spec(l.nextLength(active.length), active.number, 0)
	p.spec.zero = x.end-framesStart < l.frames*zeroBelow
	l.next = p
	run := func() {
		p.seg, p.w, p.err = l.build(p.spec)
		p.err = l.failIfUnsure(p.err)
		close(p.done)
	}
	if l.o.inline {
		run()
		return
	}
	l.work.Go(run)
}

// nextLength is how long the segment after one of this length should be.
func (l *Log) nextLength(length int64) int64 {
	return min(max(2*length, l.o.minSegmentSize()), l.o.SegmentSize)
}
