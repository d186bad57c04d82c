package dbkernel

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/internal/wal"
)

var errTrimmed = wal.ErrTrimmed

// Tail reads committed records in order, from memory while it is close behind
// and from the disk otherwise. What it hasn't acknowledged is kept in the log,
// within the retention's caps. Not for concurrent use, but Ack and Close may be
// called from elsewhere. A tail that nobody is in keeps no namespace from closing.
type Tail struct {
	n    *Namespace
	name string
	next uint64

	reading sync.Mutex // guards the two below; held while the disk is read
	disk    *wal.Reader
	diskAt  uint64 // the LSN that disk reads next

	mu     sync.Mutex
	closed bool
}

// pinSet is what the log is kept for.
type pinSet struct {
	mu   sync.Mutex
	pins map[*Tail]*pin
}

type pin struct {
	from   uint64 // first LSN that is still needed
	moved  time.Time
	broken bool
}

// Tail opens a reader from LSN from on. ErrTrimmed where the log no longer
// holds that; ErrGap where it is beyond the log's end. The name appears in logs.
func (n *Namespace) Tail(name string, from uint64) (*Tail, error) {
	if n.staged {
		return nil, n.notReady()
	}
	if err := n.acquireLog(); err != nil {
		return nil, err
	}
	defer n.releaseLog()
	t := &Tail{n: n, name: name, next: from}
	// The pin comes first, so that nothing is trimmed between the check and it.
	n.pins.mu.Lock()
	if n.pins.pins == nil {
		n.pins.pins = map[*Tail]*pin{}
	}
	n.pins.pins[t] = &pin{from: from, moved: n.db.opts.Clock()}
	n.pins.mu.Unlock()
	var err error
	if first := n.log.FirstLSN(); from < first {
		err = fmt.Errorf("%w: LSN %d is wanted, the log begins at %d", ErrTrimmed, from, first)
	} else if end := n.appended.Load() + 1; from > end {
		err = fmt.Errorf("%w: LSN %d is wanted, the next one will be %d", ErrGap, from, end)
	}
	if err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// Next waits until there is something committed to read, and returns about
// maxBytes of it, but at least one record. ErrTrimmed where the pin was broken
// and the log has moved on; ErrClosed when the namespace closes, ErrSuperseded
// when it is replaced or cut off.
func (t *Tail) Next(ctx context.Context, maxBytes int) (Run, error) {
	n := t.n
	if err := n.acquireLog(); err != nil {
		return Run{}, err
	}
	defer n.releaseLog()
	err := n.advanced.wait(ctx, func() bool { return n.commit.Load() >= t.next || t.isClosed() || n.closing() })
	if err != nil {
		return Run{}, err
	}
	if err := n.ended(); err != nil {
		return Run{}, err
	}
	if t.isClosed() {
		return Run{}, ErrClosed
	}
	commit := n.commit.Load()
	run, ok := Run{}, false
	if ring := n.ring.Load(); ring != nil {
		run, ok = ring.read(t.next, commit, maxBytes)
	}
	t.reading.Lock()
	if ok {
		err = t.closeDisk() // an old segment isn't kept open for one that is live
	} else {
		run, err = t.readDisk(commit, maxBytes)
	}
	t.reading.Unlock()
	if err != nil {
		return Run{}, err
	}
	run.Commit = commit
	t.next = run.Last + 1
	return run, nil
}

func (t *Tail) readDisk(commit uint64, maxBytes int) (Run, error) {
	if t.isClosed() {
		return Run{}, ErrClosed
	}
	if t.disk == nil || t.diskAt != t.next {
		if err := t.closeDisk(); err != nil {
			return Run{}, err
		}
		r, err := t.n.log.NewReader(t.next)
		if err != nil {
			return Run{}, t.logError(err)
		}
		t.disk, t.diskAt = r, t.next
	}
	chunk, first, last, err := t.disk.Next(commit, maxBytes)
	if err != nil {
		return Run{}, t.logError(err)
	}
	if chunk == nil {
		return Run{}, fmt.Errorf("%w: LSN %d is committed but not in the log", ErrDamaged, t.next)
	}
	t.diskAt = last + 1
	return Run{First: first, Last: last, Bytes: len(chunk), Records: [][]byte{chunk}, chunk: chunk}, nil
}

func (t *Tail) logError(err error) error {
	if errors.Is(err, errTrimmed) {
		return fmt.Errorf("%w: %w", ErrTrimmed, err)
	}
	if errors.Is(err, codec.ErrCorrupt) {
		t.n.noteLogDamage(t.next, err)
	}
	return asDamage(err)
}

func (t *Tail) closeDisk() error {
	if t.disk == nil {
		return nil
	}
	r := t.disk
	t.disk = nil
	return r.Close()
}

// Ack says that the log up to lsn isn't needed any more by this reader.
func (t *Tail) Ack(lsn uint64) {
	s := &t.n.pins
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.pins[t]; p != nil && lsn+1 > p.from {
		p.from, p.moved = lsn+1, t.n.db.opts.Clock()
	}
}

// Close ends the reader and its pin, and wakes its Next. It may be called twice.
func (t *Tail) Close() {
	t.mu.Lock()
	closed := t.closed
	t.closed = true
	t.mu.Unlock()
	if closed {
		return
	}
	s := &t.n.pins
	s.mu.Lock()
	delete(s.pins, t)
	s.mu.Unlock()
	t.n.advanced.broadcast()
	t.reading.Lock()
	if err := t.closeDisk(); err != nil {
		t.n.logger.Warn("closing a log segment failed", "error", err)
	}
	t.reading.Unlock()
}

func (t *Tail) isClosed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.closed
}

// trim removes what nobody needs from the log: behind the checkpoint, and
// behind the pins that are within their caps. What is held goes by size only.
func (n *Namespace) trim() {
	o := n.opts.Load().Storage.Retention
	now := n.db.opts.Clock()
	removed, err := n.log.Trim(wal.TrimPolicy{
		Keep:   min(n.point.Load().LSN+1, n.pinned(o, now)),
		Before: now.Add(-o.MaxAge).UnixNano(), MaxBytes: o.MaxBytes, MinSegments: o.MinSegments,
		Held: n.holds.from(), HeldBytes: o.PinMaxBytes,
	})
	if errors.Is(err, wal.ErrClosed) {
		return // housekeeping came late
	}
	if err != nil {
		n.logger.Error("trimming the log failed", "error", err)
	} else if removed > 0 {
		n.forgetLogDamage()
		if first := n.log.FirstLSN(); n.holds.brokenBy(first) {
			n.logger.Warn("the log's byte limits took what was held for one who hasn't acknowledged it: that one will take a snapshot", "first_lsn", first)
			n.db.event(n, EventPinBroken, fmt.Errorf("the log begins at LSN %d, above what is held", first))
		}
		n.logger.Debug("log trimmed", "segments", removed, "first_lsn", n.log.FirstLSN())
	}
}

// pinned is the first LSN that a pin holds, and breaks those pins that hold too
// much or too old records: a dead follower costs a snapshot, not the disk.
func (n *Namespace) pinned(o Retention, now time.Time) uint64 {
	n.pins.mu.Lock()
	defer n.pins.mu.Unlock()
	first := ^uint64(0)
	for t, p := range n.pins.pins {
		if p.broken {
			continue
		}
		bytes := n.log.BytesBetween(p.from, n.appended.Load())
		old := p.from <= n.appended.Load() && n.olderThan(p.from, now.Add(-o.PinMaxAge))
		if bytes > o.PinMaxBytes || old {
			p.broken = true
			n.logger.Warn("a reader held too much of the log and lost its pin", "reader", t.name, "lsn", p.from, "bytes", bytes)
			n.db.event(n, EventPinBroken, fmt.Errorf("reader %s held %d bytes from LSN %d on", t.name, bytes, p.from))
			continue
		}
		first = min(first, p.from)
	}
	return first
}

// olderThan reports whether the record is older than t, by its segment's last record.
func (n *Namespace) olderThan(lsn uint64, t time.Time) bool {
	for _, s := range n.log.Segments() {
		if s.FirstLSN <= lsn && lsn <= s.LastLSN {
			return s.LastTime < t.UnixNano()
		}
	}
	return false
}

// pressed reports whether a reader that keeps moving holds so much of the log
// that its pin is close to its cap.
func (n *Namespace) pressed() bool {
	limit := n.opts.Load().Storage.Retention.PinMaxBytes / 2
	now := n.db.opts.Clock()
	n.pins.mu.Lock()
	defer n.pins.mu.Unlock()
	for _, p := range n.pins.pins {
		if !p.broken && now.Sub(p.moved) < movingReader && n.log.BytesBetween(p.from, n.appended.Load()) > limit {
			return true
		}
	}
	return false
}

// movingReader is how recently a reader must have acknowledged something to
// count as one that keeps moving.
const movingReader = 10 * time.Second
