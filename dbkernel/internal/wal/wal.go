// Package wal is the log of a namespace: numbered records in segment files,
// written in groups, durable when synced, read by many while it grows.
// DESIGN.md describes the format and what is guaranteed after a crash.
package wal

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// MinSegmentSize is the length of a log's first segment, in bytes. Each next
// one is twice as long, up to Options.SegmentSize.
const MinSegmentSize = 64 << 10

// maxGroupLen bounds the records of one group, in bytes: a frame says its
// length in 32 bits.
const maxGroupLen = math.MaxUint32

// What callers decide by.
var (
	// ErrTrimmed: the log does not reach back to what was asked for.
	ErrTrimmed = errors.New("no longer in the log")
	// ErrTruncated: the log was cut off behind a point that the reader is past.
	ErrTruncated = errors.New("the log was cut off before this point")
	// ErrFailed: a sync failed. Nothing more can be written until the log is
	// opened again; reading goes on.
	ErrFailed = errors.New("the log has failed")
	// ErrNewerFormat: a segment was written by a newer build.
	ErrNewerFormat = errors.New("newer log format")
	// ErrClosed: the log is closed.
	ErrClosed = errors.New("the log is closed")
)

// Options configure a Log.
type Options struct {
	FS          vfs.FS
	Dir         string       // the log's own directory
	Lineage     [16]byte     // of the namespace; segments of another one are damage
	SegmentSize int64        // bytes, at most, but for a segment that holds one larger group
	Logger      hclog.Logger // never nil

	// inline makes segments on the goroutine that appends, so that tests see
	// the same order of operations every time.
	inline bool
	// smallest replaces MinSegmentSize in tests, unless it is 0.
	smallest int64
}

// minSegmentSize is the length of a segment that nothing is known of.
func (o Options) minSegmentSize() int64 { return cmp.Or(o.smallest, MinSegmentSize) }

func (o Options) validate() error {
	if o.FS == nil || o.Logger == nil || o.Dir == "" {
		return errors.New("the log needs a file system, a directory and a logger")
	}
	if o.SegmentSize < o.minSegmentSize() {
		return fmt.Errorf("a segment size of %d bytes is too small: use at least %d", o.SegmentSize, o.minSegmentSize())
	}
	return nil
}

// Log is an open log. Its methods may be called concurrently.
//
// Locks, in the order in which they are taken: maint, mu, syncMu, pub. Readers
// take none of them: they load the view.
type Log struct {
	o Options

	maint sync.Mutex // held by what removes segments: Trim, TruncateAfter, Close

	mu     sync.Mutex   // held by what adds to the log
	number uint64       // of the next segment made
	frames int64        // written to the active segment by this process
	next   *preparation // the segment after the active one, made or being made; may be nil
	bufs   [][]byte     // scratch for one write
	marked bool         // a clean end lies where the next frame will go
	torn   bool         // a failed write left bytes where the next frame will go

	syncMu sync.Mutex // held during a sync: of two at once, one would not hear of an error
	w      vfs.File   // the active segment, for writing; replaced under mu and syncMu

	pub     sync.Mutex // held while view is replaced, and guards spares and garbage
	view    atomic.Pointer[view]
	spares  []string // trimmed files of full length, to be used again
	garbage []string // files that are no part of the log, to be removed

	synced atomic.Uint64
	failed atomic.Pointer[error]
	closed atomic.Bool
	work   sync.WaitGroup // segments being made
}

// Create makes a new, empty log, whose first record will have the LSN first.
// Its files and directories are durable on return. It fails with fs.ErrExist
// if there is a log in the directory.
func Create(o Options, first uint64) (*Log, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	if first == 0 {
		return nil, errors.New("LSNs begin at 1")
	}
	if err := o.FS.MkdirAll(o.Dir); err != nil {
		return nil, fmt.Errorf("make the log's directory: %w", err)
	}
	names, err := listFiles(o)
	if err != nil {
		return nil, err
	}
	if len(names.segments) > 0 {
		return nil, fmt.Errorf("%s holds a log: %w", o.Dir, fs.ErrExist)
	}
	l := newLog(o)
	l.number = 1
	seg, w, err := l.build(l.spec(o.minSegmentSize(), 0, first))
	if err != nil {
		return nil, err
	}
	if err := o.FS.SyncDir(filepath.Dir(o.Dir)); err != nil {
		return nil, errors.Join(fmt.Errorf("sync the directory of the log's directory: %w", err), w.Close())
	}
	l.start(w, &view{active: extent{seg: seg, first: first, last: first - 1, end: framesStart}}, first-1)
	return l, nil
}

func newLog(o Options) *Log { return &Log{o: o} }

// start puts a log into its first state.
func (l *Log) start(w vfs.File, v *view, synced uint64) {
	l.w = w
	l.synced.Store(synced)
	l.view.Store(v)
}

// Close ends the log. If it is healthy, all is synced, and a clean end is
// written so that the next Open knows.
func (l *Log) Close() error {
	l.maint.Lock()
	defer l.maint.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed.Swap(true) {
		return nil
	}
	l.work.Wait()
	var errs []error
	if l.next != nil {
		errs = append(errs, l.next.close())
		l.next = nil
	}
	if l.failed.Load() == nil {
		errs = append(errs, l.markEnd())
	}
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	errs = append(errs, l.w.Close())
	l.w = nil
	return errors.Join(errs...)
}

// FirstLSN is that of the first record held; LastLSN+1 if there is none.
func (l *Log) FirstLSN() uint64 { return l.view.Load().first() }

// LastLSN is that of the last record appended; FirstLSN-1 if there is none.
func (l *Log) LastLSN() uint64 { return l.view.Load().last() }

// SyncedLSN is the last LSN that is known to be durable.
func (l *Log) SyncedLSN() uint64 { return l.synced.Load() }

// ReleaseMemory drops what can be made again: the log of an idle namespace
// costs little more than its list of segments.
func (l *Log) ReleaseMemory() {
	for _, x := range l.view.Load().extents() {
		x.seg.idx.drop()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bufs = nil
}

// usable says why the log can't be written, if it can't.
func (l *Log) usable() error {
	if l.closed.Load() {
		return ErrClosed
	}
	return l.healthy()
}

// healthy is nil until a sync has failed.
func (l *Log) healthy() error {
	if cause := l.failed.Load(); cause != nil {
		return fmt.Errorf("%w: %w", ErrFailed, *cause)
	}
	return nil
}

// fail freezes the log and returns the error that everybody gets from then on.
func (l *Log) fail(cause error) error {
	if l.failed.CompareAndSwap(nil, &cause) {
		l.o.Logger.Error("log failed, no more writes until it is opened again", "dir", l.o.Dir, "error", cause)
	}
	return l.healthy()
}

// publish replaces the view by what change makes of the current one.
func (l *Log) publish(change func(v view) *view) {
	l.pub.Lock()
	defer l.pub.Unlock()
	l.view.Store(change(*l.view.Load()))
}

// readRecord reads one record, which must be in the log.
func (l *Log) readRecord(lsn uint64) (codec.Record, error) {
	r, err := l.NewReader(lsn)
	if err != nil {
		return nil, err
	}
	chunk, _, _, err := r.Next(lsn, 1)
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, err
	}
	if chunk == nil {
		return nil, fmt.Errorf("LSN %d: %w", lsn, ErrTrimmed)
	}
	return chunk, nil
}

// LastRecordHeader reads the header of the last record. False if there is
// none, or if it can't be read, which is logged.
func (l *Log) LastRecordHeader() (codec.Header, bool) {
	v := l.view.Load()
	if v.last() < v.first() {
		return codec.Header{}, false
	}
	r, err := l.readRecord(v.last())
	if err != nil {
		l.o.Logger.Error("cannot read the last record", "dir", l.o.Dir, "lsn", v.last(), "error", err)
		return codec.Header{}, false
	}
	h, err := r.Check()
	return h, err == nil
}
