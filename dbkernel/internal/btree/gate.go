package btree

import (
	"fmt"
	"sync"
	"time"
)

// gate lets readers into a tree, at most max at a time, and lets one caller have
// the tree alone: to close it, or to resize its map. It also knows how old the
// oldest reader is.
//
// Lock order: a tree's writer lock, then the gate's.
type gate struct {
	mu      sync.Mutex
	changed sync.Cond // on mu; broadcast where waiting > 0
	waiting int

	max     int
	readers int
	long    int  // of readers, backups: they take minutes
	barred  bool // someone waits for the readers to leave
	closed  bool

	// The open snapshots in the order in which they were taken.
	first, last *ticket
	snapshots   int
	epoch       time.Time // what tickets count from: cheaper to read than the time
}

// ticket is a snapshot's place in the list.
type ticket struct {
	since      time.Duration
	prev, next *ticket
}

func newGate(maxReaders int) *gate {
	g := &gate{max: maxReaders, epoch: time.Now()}
	g.changed.L = &g.mu
	return g
}

// waitLocked waits for a change.
func (g *gate) waitLocked() {
	g.waiting++
	g.changed.Wait()
	g.waiting--
}

func (g *gate) signalLocked() {
	if g.waiting > 0 {
		g.changed.Broadcast()
	}
}

// enter admits a snapshot.
func (g *gate) enter(t *ticket) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.enterLocked(t)
}

func (g *gate) enterLocked(t *ticket) error {
	for !g.closed && (g.barred || g.readers >= g.max) {
		g.waitLocked()
	}
	if g.closed {
		return ErrClosed
	}
	g.readers++
	g.snapshots++
	t.since, t.prev, t.next = time.Since(g.epoch), g.last, nil
	if g.last == nil {
		g.first = t
	} else {
		g.last.next = t
	}
	g.last = t
	return nil
}

// leave ends what enter began.
func (g *gate) leave(t *ticket) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.leaveLocked(t)
}

func (g *gate) leaveLocked(t *ticket) {
	if t.prev == nil {
		g.first = t.next
	} else {
		t.prev.next = t.next
	}
	if t.next == nil {
		g.last = t.prev
	} else {
		t.next.prev = t.prev
	}
	t.prev, t.next = nil, nil
	g.readers--
	g.snapshots--
	g.signalLocked()
}

// visit runs fn as a reader that isn't a snapshot: it doesn't count against max.
// A long one, a backup, is never waited for by a caller in a hurry.
func (g *gate) visit(long bool, fn func() error) error {
	g.mu.Lock()
	for !g.closed && g.barred {
		g.waitLocked()
	}
	if g.closed {
		g.mu.Unlock()
		return ErrClosed
	}
	g.readers++
	if long {
		g.long++
	}
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		g.readers--
		if long {
			g.long--
		}
		g.signalLocked()
		g.mu.Unlock()
	}()
	return fn()
}

// alone keeps new readers out, waits at most patience for the others to leave,
// and runs fn. While a backup is under way it waits for that first and lets
// readers pass. Where patience runs out, fn isn't run and the error names what is
// in the way.
//
// Readers are kept out for barTime at a stretch, and then let in for as long: a
// goroutine that holds a snapshot and asks for a second one before it releases
// either would otherwise wait for itself.
func (g *gate) alone(patience time.Duration, fn func() error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	ticks := 0
	var timer *time.Timer
	timer = time.AfterFunc(barTime, func() {
		g.mu.Lock()
		ticks++
		timer.Reset(barTime)
		g.changed.Broadcast()
		g.mu.Unlock()
	})
	defer timer.Stop()
	defer func() {
		g.barred = false
		g.signalLocked()
	}()
	for g.readers > 0 {
		if time.Duration(ticks)*barTime >= patience {
			return fmt.Errorf("waited %s for %d open snapshots (the oldest for %s) and %d backups: release snapshots sooner",
				patience, g.snapshots, g.oldestLocked().Round(time.Millisecond), g.long)
		}
		g.barred = g.long == 0 && ticks%2 == 0
		if !g.barred {
			g.signalLocked()
		}
		g.waitLocked()
	}
	return fn()
}

// barTime is for how long a snapshot may have to wait for another one's release.
const barTime = time.Second

// close turns everyone away who comes from now on. It reports false if that was
// done before.
func (g *gate) close() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.closed = true
	g.signalLocked()
	return true
}

func (g *gate) isClosed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed
}

// drain waits for all readers to leave a closed gate.
func (g *gate) drain() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.readers > 0 {
		g.waitLocked()
	}
}

// describe fills in the part of Stats that the gate knows.
func (g *gate) describe(s *Stats) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s.Snapshots = g.snapshots
	s.OldestSnapshot = g.oldestLocked()
}

func (g *gate) oldestLocked() time.Duration {
	if g.first == nil {
		return 0
	}
	return time.Since(g.epoch) - g.first.since
}

func checkKey(key []byte) error {
	if len(key) == 0 || len(key) > MaxKeyLen {
		return fmt.Errorf("%w, this one %d", ErrKeySize, len(key))
	}
	return nil
}
