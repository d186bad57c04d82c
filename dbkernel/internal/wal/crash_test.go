package wal

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// The crash test runs a random workload on a file system in memory. After
// every operation that changes the disk it looks at what a power cut at this
// moment could leave behind, opens the log there, and compares it with what
// the workload knows: all that was synced is there byte for byte, nothing is
// there that wasn't appended or was cut off, and the log works on.
//
// SEED=n runs another workload, DURATION=10m runs new ones for that long.

// smallSegment makes logs of many segments cheap.
const smallSegment = 16 << 10

// shortPoints is how many crash points the short form looks at.
const shortPoints = 10_000

func TestCrashPoints(t *testing.T) {
	seed, duration := uint64(1), time.Duration(0)
	if s := os.Getenv("SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("SEED: %v", err)
		}
		seed = n
	}
	if s := os.Getenv("DURATION"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil {
			t.Fatalf("DURATION: %v", err)
		}
		duration = d
	}
	start, points := time.Now(), 0
	for ; points < shortPoints || time.Since(start) < duration; seed++ {
		w := newWorkload(t, seed)
		w.background = seed%8 == 0
		w.run(120)
		points += w.points
	}
	t.Logf("%d crash points, seeds up to %d, %v", points, seed-1, time.Since(start).Round(time.Millisecond))
}

// history is what the workload knows about the log.
type history struct {
	first   uint64         // LSN of recs[0]
	recs    []codec.Record // appended, in order
	acked   uint64         // last LSN that a sync has made durable
	trimmed uint64         // the log may begin anywhere from trimmed...
	keep    uint64         // ...to keep
	pending []codec.Record // a group whose append is under way or has an unknown outcome
	cutting bool           // a truncation behind cut is under way
	cut     uint64
}

func (h *history) last() uint64 { return h.first + uint64(len(h.recs)) - 1 }

func (h *history) at(lsn uint64) codec.Record {
	if lsn <= h.last() {
		return h.recs[lsn-h.first]
	}
	return h.pending[lsn-h.last()-1]
}

// check compares a log that was opened after a crash with the history.
func (h *history) check(l *Log) error {
	first, last := l.FirstLSN(), l.LastLSN()
	switch {
	case first < h.trimmed || first > h.keep:
		return fmt.Errorf("the log begins with LSN %d, expected %d to %d", first, h.trimmed, h.keep)
	case l.SyncedLSN() != last:
		return fmt.Errorf("opened with synced LSN %d, last %d", l.SyncedLSN(), last)
	case last < h.acked && !(h.cutting && last == h.cut):
		return fmt.Errorf("the log ends with LSN %d, but %d was synced", last, h.acked)
	case last > h.last()+uint64(len(h.pending)):
		return fmt.Errorf("the log ends with LSN %d, but only %d was appended", last, h.last())
	}
	r, err := l.NewReader(first)
	if err != nil {
		return err
	}
	next, err := first, h.compare(r, first, last)
	if err != nil {
		return errors.Join(fmt.Errorf("LSNs %d to %d: %w", next, last, err), r.Close())
	}
	return r.Close()
}

func (h *history) compare(r *Reader, next, last uint64) error {
	for next <= last {
		chunk, from, to, err := r.Next(noLimit, 64<<10)
		if err != nil {
			return err
		}
		if from != next || to < from {
			return fmt.Errorf("read LSNs %d to %d, expected %d", from, to, next)
		}
		for ; next <= to; next++ {
			want := h.at(next)
			if len(chunk) < len(want) || !bytes.Equal(chunk[:len(want)], want) {
				return fmt.Errorf("LSN %d is not what was appended", next)
			}
			chunk = chunk[len(want):]
		}
	}
	return nil
}

// adopt makes the history agree with an opened log that it was compared with.
func (h *history) adopt(l *Log) {
	for h.last() < l.LastLSN() {
		h.recs, h.pending = append(h.recs, h.pending[0]), h.pending[1:]
	}
	h.recs = h.recs[:l.LastLSN()-h.first+1]
	h.pending, h.cutting = nil, false
	h.acked, h.trimmed, h.keep = l.LastLSN(), l.FirstLSN(), max(l.FirstLSN(), min(h.keep, l.LastLSN()+1))
}

type workload struct {
	t      *testing.T
	seed   uint64
	rng    *rand.Rand
	crng   *rand.Rand // for crashes, so that looking doesn't change the workload
	mem    *vfs.Mem
	l      *Log
	h      history
	salt   uint64
	size   int64 // of segments
	points int
	// background makes segments as in production, on a goroutine of their own:
	// then only whole steps are crash points.
	background bool

	fault  func(vfs.Op) *vfs.Fault // the next fault, nil for none
	faulty bool                    // appends may fail
	trace  []string
}

func newWorkload(t *testing.T, seed uint64) *workload {
	w := &workload{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), crng: rand.New(rand.NewPCG(seed, 2)), mem: newDisk()}
	w.size = smallSegment << w.rng.IntN(3)
	return w
}

func (w *workload) fatalf(format string, args ...any) {
	w.t.Helper()
	for _, line := range w.trace[max(0, len(w.trace)-40):] {
		w.t.Log(line)
	}
	w.t.Fatalf("SEED=%d, crash point %d: %s", w.seed, w.points, fmt.Sprintf(format, args...))
}

func (w *workload) note(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf(format, args...))
}

// options are those of the log under test: on the workload's file system, with
// a look at every operation.
func (w *workload) options() Options {
	o := testOptions(vfs.WithFaults(w.mem, vfs.Hooks{
		Before: func(op vfs.Op) *vfs.Fault {
			if w.background || w.fault == nil {
				return nil
			}
			f := w.fault(op)
			if f != nil {
				w.note("  fault %v: %+v", op, *f)
			}
			return f
		},
		After: func(op vfs.Op, err error) {
			if op.Kind.Writes() && !w.background {
				w.note("  %v %v", op, err)
				w.crashPoint()
			}
		},
	}))
	o.inline = !w.background
	o.SegmentSize, o.smallest = w.size, smallSegment
	return o
}

// crashPoint looks at the disk after a power cut at this moment.
func (w *workload) crashPoint() {
	w.points++
	if w.l != nil && !w.h.cutting {
		w.h.acked = max(w.h.acked, w.l.SyncedLSN())
	}
	disk := w.mem.Crash(w.crng, vfs.AnyCrash(w.crng))
	for range w.crng.IntN(3) { // and again while recovering
		o := testOptions(vfs.WithFaults(disk, vfs.CrashAfter(w.crng.IntN(12))))
		o.SegmentSize, o.smallest = w.size, smallSegment
		l, err := Open(o, 0)
		if err == nil {
			_ = l.Close() // fails where the crash comes now
		} else if !errors.Is(err, vfs.ErrCrashed) && !w.notYet(err) {
			w.fatalf("recovery: %v", err)
		}
		disk = disk.Crash(w.crng, vfs.AnyCrash(w.crng))
	}
	o := testOptions(disk)
	o.SegmentSize, o.smallest = w.size, smallSegment
	l, err := Open(o, w.crng.Uint64N(w.h.acked+1))
	if err != nil {
		if !w.notYet(err) {
			w.fatalf("open: %v", err)
		}
		return
	}
	if err := w.h.check(l); err != nil {
		w.fatalf("%v", err)
	}
	if w.crng.IntN(3) == 0 {
		w.goOn(disk, l)
		return
	}
	if err := l.Close(); err != nil {
		w.fatalf("close: %v", err)
	}
}

// notYet reports whether err only says that the log's creation wasn't finished.
func (w *workload) notYet(err error) bool { return w.l == nil && errors.Is(err, fs.ErrNotExist) }

// goOn appends to a recovered log, cuts the power once more, and looks again.
func (w *workload) goOn(disk *vfs.Mem, l *Log) {
	h := w.h
	h.recs = append([]codec.Record(nil), h.recs...)
	h.adopt(l)
	for range 1 + w.crng.IntN(3) {
		group := []codec.Record{record(h.last()+1, w.crng.Uint64(), anySize(w.crng, 1200))}
		if err := l.Append(group); err != nil {
			w.fatalf("append after recovery: %v", err)
		}
		h.recs = append(h.recs, group...)
		if w.crng.IntN(2) == 0 {
			if err := l.Sync(); err != nil {
				w.fatalf("sync after recovery: %v", err)
			}
			h.acked = h.last()
		}
	}
	o := testOptions(disk.Crash(w.crng, vfs.AnyCrash(w.crng)))
	o.SegmentSize, o.smallest = w.size, smallSegment
	again, err := Open(o, 0)
	if err != nil {
		w.fatalf("second recovery: %v", err)
	}
	if err := h.check(again); err != nil {
		w.fatalf("second recovery: %v", err)
	}
	if err := errors.Join(l.Close(), again.Close()); err != nil {
		w.fatalf("close: %v", err)
	}
}

func (w *workload) run(steps int) {
	first := 1 + w.rng.Uint64N(3)
	w.h = history{first: first, acked: first - 1, trimmed: first, keep: first}
	l, err := Create(w.options(), first)
	if err != nil {
		w.fatalf("create: %v", err)
	}
	w.l = l
	for range steps {
		w.step()
		if w.background {
			w.crashPoint()
		}
	}
	if err := w.l.Close(); err != nil {
		w.fatalf("close: %v", err)
	}
}

func (w *workload) step() {
	switch n := w.rng.IntN(100); {
	case n < 55:
		w.append()
	case n < 75:
		w.sync()
	case n < 81:
		w.trim()
	case n < 83:
		w.drop()
	case n < 87:
		w.truncate()
	case n < 90:
		w.reopen(true)
		w.append()
		w.append()
	case n < 93:
		w.reopen(false)
	case n < 96:
		w.powerCut()
	case w.background: // a fault could hit either goroutine
		w.append()
	case n < 98:
		w.failWrite()
	default:
		w.failSync()
	}
}

// anySize draws from a few sizes only: frames of the same length are where a
// log can be fooled by what lies behind its end.
func anySize(rng *rand.Rand, limit int) int { return limit / 4 * rng.IntN(4) }

func (w *workload) group() (group []codec.Record) {
	w.salt++
	size := 1200
	if w.rng.IntN(12) == 0 {
		size = 8000
	}
	for range 1 + w.rng.IntN(1+w.rng.IntN(4)) {
		group = append(group, record(w.h.last()+1+uint64(len(group)), w.salt, anySize(w.rng, size)))
	}
	if w.rng.IntN(60) == 0 {
		group = append(group, record(w.h.last()+1+uint64(len(group)), w.salt, 50_000))
	}
	return group
}

func (w *workload) append() {
	w.h.pending = w.group()
	w.note("append %d records from LSN %d", len(w.h.pending), w.h.last()+1)
	err := w.l.Append(w.h.pending)
	if err == nil {
		w.h.recs = append(w.h.recs, w.h.pending...)
	}
	w.note("appended: %v", err)
	if err == nil || !errors.Is(err, ErrFailed) {
		w.h.pending = nil
	}
	// A roll syncs what is in the old segment.
	if synced := w.l.SyncedLSN(); synced > w.h.last() {
		w.fatalf("synced LSN %d, last %d", synced, w.h.last())
	}
	w.h.acked = max(w.h.acked, w.l.SyncedLSN())
	if err != nil && !w.faulty {
		w.fatalf("append: %v", err)
	}
}

func (w *workload) sync() {
	w.note("sync")
	if err := w.l.Sync(); err != nil {
		w.fatalf("sync: %v", err)
	}
	if w.l.SyncedLSN() != w.h.last() {
		w.fatalf("synced LSN %d, want %d", w.l.SyncedLSN(), w.h.last())
	}
	w.h.acked = w.h.last()
}

func (w *workload) trim() {
	keep := w.h.acked + 1
	if w.rng.IntN(2) == 0 {
		keep = w.h.trimmed + w.rng.Uint64N(keep+1-w.h.trimmed)
	}
	w.h.keep = max(w.h.keep, keep)
	n, err := w.l.Trim(TrimPolicy{Keep: keep, MaxBytes: 1, MinSegments: w.rng.IntN(3)})
	w.note("trim below %d: %d segments, %v", keep, n, err)
	if err != nil {
		w.fatalf("trim: %v", err)
	}
	w.h.trimmed = w.l.FirstLSN()
}

// drop drops segments from the old end, the active one included where another is begun.
func (w *workload) drop() {
	if w.rng.IntN(2) == 0 {
		if err := w.l.BeginSegment(); err != nil {
			w.fatalf("begin a segment: %v", err)
		}
		w.h.acked = w.h.last()
	}
	segs := w.l.Segments()
	x := segs[w.rng.IntN(len(segs))]
	if !x.Closed {
		return
	}
	aside := map[uint64]string{}
	if w.rng.IntN(2) == 0 {
		if err := w.l.o.FS.MkdirAll(asideInTest); err != nil {
			w.fatalf("make a directory: %v", err)
		}
		aside[x.Number] = fileName(asideInTest, segmentPrefix, x.Number)
	}
	w.h.keep = max(w.h.keep, x.LastLSN+1)
	err := w.l.DropThrough(x.LastLSN, aside)
	w.note("drop through %d: %v", x.LastLSN, err)
	if err != nil {
		w.fatalf("drop: %v", err)
	}
	w.h.trimmed, w.h.acked = w.l.FirstLSN(), w.l.SyncedLSN()
	if w.h.trimmed != x.LastLSN+1 {
		w.fatalf("dropped through %d, begins with LSN %d", x.LastLSN, w.h.trimmed)
	}
}

func (w *workload) truncate() {
	lsn := w.h.trimmed - 1 + w.rng.Uint64N(w.h.last()+2-w.h.trimmed)
	if w.rng.IntN(2) == 0 {
		lsn = max(lsn, w.h.last()-min(w.h.last(), 3))
	}
	lsn = min(lsn, w.h.last())
	w.note("truncate after %d of %d", lsn, w.h.last())
	w.h.cutting, w.h.cut = true, lsn
	var aside []byte
	err := w.l.TruncateAfter(lsn, func(b []byte) error { aside = append(aside, b...); return nil })
	if err != nil {
		w.fatalf("truncate: %v", err)
	}
	for at := lsn + 1; at <= w.h.last(); at++ {
		want := w.h.at(at)
		if !bytes.HasPrefix(aside, want) {
			w.fatalf("LSN %d was not set aside", at)
		}
		aside = aside[len(want):]
	}
	if w.h.cutting = false; lsn < w.h.last() {
		w.h.acked, w.h.keep = lsn, min(w.h.keep, lsn+1)
	}
	w.h.recs = w.h.recs[:lsn+1-w.h.first]
	if w.l.LastLSN() != lsn || w.l.SyncedLSN() != w.h.acked {
		w.fatalf("cut off behind %d, ends with %d, synced %d", lsn, w.l.LastLSN(), w.h.acked)
	}
}

// reopen ends the process, cleanly or not. The disk and its cache stay.
func (w *workload) reopen(clean bool) {
	w.note("reopen, clean %v", clean)
	w.l.work.Wait() // a process that has ended makes no segments
	if clean {
		if err := w.l.Close(); err != nil {
			w.fatalf("close: %v", err)
		}
		w.h.acked = w.h.last()
	}
	w.open()
}

func (w *workload) open() {
	last := w.h.last()
	l, err := Open(w.options(), w.rng.Uint64N(w.h.acked+1))
	if err != nil {
		w.fatalf("open: %v", err)
	}
	if l.LastLSN() < last {
		w.fatalf("reopened with last LSN %d, want %d", l.LastLSN(), last)
	}
	w.adopt(l)
}

func (w *workload) adopt(l *Log) {
	if err := w.h.check(l); err != nil {
		w.fatalf("%v", err)
	}
	w.l = l
	w.h.adopt(l)
}

// powerCut goes on with what a crash leaves.
func (w *workload) powerCut() {
	w.note("power cut")
	w.mem = w.mem.Crash(w.crng, vfs.AnyCrash(w.crng))
	l, err := Open(w.options(), w.rng.Uint64N(w.h.acked+1))
	if err != nil {
		w.fatalf("open after a power cut: %v", err)
	}
	w.adopt(l)
}

// failWrite lets one write of an append fail, some of it done.
func (w *workload) failWrite() {
	n := w.rng.IntN(3)
	w.fault = func(op vfs.Op) *vfs.Fault {
		if op.Kind != vfs.OpWrite && op.Kind != vfs.OpAllocate {
			return nil
		}
		if n--; n >= 0 {
			return nil
		}
		w.fault = func(vfs.Op) *vfs.Fault { return nil }
		if w.rng.IntN(3) == 0 {
			return &vfs.Fault{Err: syscall.EIO, Applied: true}
		}
		return &vfs.Fault{Err: syscall.ENOSPC, Written: w.rng.IntN(4000)}
	}
	w.faulty = true
	w.append()
	w.append()
	w.fault, w.faulty = nil, false
}

// failSync lets a sync fail: what wasn't synced is lost although reading shows
// it, and the log must know.
func (w *workload) failSync() {
	w.append()
	n := w.rng.IntN(2)
	w.faulty = true
	w.fault = func(op vfs.Op) *vfs.Fault {
		if !op.Kind.IsSync() {
			return nil
		}
		if n--; n >= 0 {
			return nil
		}
		w.fault = nil
		return &vfs.Fault{Err: syscall.EIO}
	}
	err := w.l.Sync()
	if err == nil {
		w.h.acked = w.h.last()
		w.append()
		err = w.l.Sync()
	}
	w.fault, w.faulty = nil, false
	if err == nil {
		w.h.acked = w.h.last()
		return
	}
	if !errors.Is(err, ErrFailed) || !errors.Is(w.l.Append(w.group()), ErrFailed) || !errors.Is(w.l.Sync(), ErrFailed) {
		w.fatalf("a sync failed with %v, and the log goes on", err)
	}
	w.note("sync failed: %v", err)
	if err := w.l.Close(); err != nil {
		w.fatalf("close: %v", err)
	}
	w.open()
}
