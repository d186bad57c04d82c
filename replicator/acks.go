package replicator

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/unisondb/unisondb/dbkernel"
)

// Acks knows which nodes follow this one's namespaces directly, and what each
// has made durable. All Sources of a node share one, so that a follower counts
// whichever end dialled. The zero value is ready to use.
type Acks struct {
	mu         sync.Mutex
	namespaces map[string]*namespaceAcks
}

// WaitReplicated returns when n distinct nodes that follow the namespace have
// reported the record at a position durable, or ctx has ended; have says how many
// have by then, at most n. Two streams of a node count once. What a follower holds
// of another history doesn't count: its stream must be of a log that has reached
// the position's epoch. A node that has reported it counts even if it leaves afterwards.
//
// The error is nil or wraps the context's.
func (a *Acks) WaitReplicated(ctx context.Context, namespace string, at dbkernel.Position, n int) (have int, err error) {
	if n <= 0 {
		return 0, nil
	}
	ns := a.enter(namespace)
	defer a.leave(namespace, ns)
	w := ns.add(at, n)
	defer ns.remove(w)
	ns.ask(at.LSN)
	select {
	case <-w.done:
		return n, nil
	case <-ctx.Done():
	}
	if have = ns.counted(w); have >= n {
		return n, nil
	}
	return have, fmt.Errorf("%d of %d followers of %q have LSN %d: %w", have, n, namespace, at.LSN, context.Cause(ctx))
}

// enter finds a namespace's entry and keeps it until leave.
func (a *Acks) enter(namespace string) *namespaceAcks {
	a.mu.Lock()
	defer a.mu.Unlock()
	ns := a.namespaces[namespace]
	if ns == nil {
		ns = newNamespaceAcks()
		if a.namespaces == nil {
			a.namespaces = make(map[string]*namespaceAcks)
		}
		a.namespaces[namespace] = ns
	}
	ns.users++
	return ns
}

func (a *Acks) leave(namespace string, ns *namespaceAcks) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if ns.users--; ns.users == 0 {
		delete(a.namespaces, namespace)
	}
}

// namespaceAcks are the followers of one namespace and who waits for them. An
// acknowledgement that nobody waits for costs one load.
type namespaceAcks struct {
	users int // the registry's lock guards it

	// lowest is the lowest LSN that somebody waits for. A follower stores its
	// position before it loads this, a waiter stores this before it loads
	// positions: one of the two sees the other.
	lowest atomic.Uint64

	mu        sync.Mutex
	followers map[*follower]struct{}
	feeds     map[*feed]struct{} // of all sources
	waiters   []*ackWaiter       // by LSN
}

// ackWaiter waits for one record.
type ackWaiter struct {
	at    dbkernel.Position
	n     int
	nodes []string // that have it
	done  chan struct{}
}

func newNamespaceAcks() *namespaceAcks {
	ns := &namespaceAcks{followers: make(map[*follower]struct{}), feeds: make(map[*feed]struct{})}
	ns.lowest.Store(math.MaxUint64)
	return ns
}

// join counts a follower from here on, what it has already included.
func (ns *namespaceAcks) join(f *follower) {
	ns.mu.Lock()
	ns.followers[f] = struct{}{}
	ns.mu.Unlock()
	ns.reached(f)
}

func (ns *namespaceAcks) part(f *follower) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	delete(ns.followers, f)
}

// watch has a feed asked when somebody waits.
func (ns *namespaceAcks) watch(f *feed) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	ns.feeds[f] = struct{}{}
	for _, w := range ns.waiters {
		f.ask(w.at.LSN)
	}
}

func (ns *namespaceAcks) unwatch(f *feed) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	delete(ns.feeds, f)
}

// ask has followers acknowledge a record now, which they do at heartbeats.
func (ns *namespaceAcks) ask(lsn uint64) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	for f := range ns.feeds {
		f.ask(lsn)
	}
}

// reached tells those who wait that a follower's durable LSN has risen.
func (ns *namespaceAcks) reached(f *follower) {
	durable := f.durable.Load()
	if durable < ns.lowest.Load() {
		return
	}
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if _, ok := ns.followers[f]; !ok {
		return
	}
	for _, w := range ns.waiters {
		if w.at.LSN > durable {
			break
		}
		w.count(f, durable)
	}
	ns.settleLocked()
}

// add makes a waiter that has counted what followers have already.
func (ns *namespaceAcks) add(at dbkernel.Position, n int) *ackWaiter {
	w := &ackWaiter{at: at, n: n, done: make(chan struct{})}
	ns.mu.Lock()
	defer ns.mu.Unlock()
	i, _ := slices.BinarySearchFunc(ns.waiters, at.LSN+1, func(w *ackWaiter, lsn uint64) int {
		if w.at.LSN < lsn {
			return -1
		}
		return 1
	})
	ns.waiters = slices.Insert(ns.waiters, i, w)
	ns.lowest.Store(ns.waiters[0].at.LSN)
	for f := range ns.followers {
		w.count(f, f.durable.Load())
	}
	ns.settleLocked()
	return w
}

// settleLocked lets those go whose number is complete.
func (ns *namespaceAcks) settleLocked() {
	ns.waiters = slices.DeleteFunc(ns.waiters, func(w *ackWaiter) bool {
		if len(w.nodes) < w.n {
			return false
		}
		close(w.done)
		return true
	})
	ns.lowestLocked()
}

func (ns *namespaceAcks) lowestLocked() {
	lowest := uint64(math.MaxUint64)
	if len(ns.waiters) > 0 {
		lowest = ns.waiters[0].at.LSN
	}
	ns.lowest.Store(lowest)
}

// remove ends a wait; one that is settled is gone already.
func (ns *namespaceAcks) remove(w *ackWaiter) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if i := slices.Index(ns.waiters, w); i >= 0 {
		ns.waiters = slices.Delete(ns.waiters, i, i+1)
		ns.lowestLocked()
	}
}

func (ns *namespaceAcks) counted(w *ackWaiter) int {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	return len(w.nodes)
}

// count notes a follower that has the record, once for each node.
func (w *ackWaiter) count(f *follower, durable uint64) {
	if len(w.nodes) < w.n && durable >= w.at.LSN && f.follows(w.at) && !slices.Contains(w.nodes, f.nodeID) {
		w.nodes = append(w.nodes, f.nodeID)
	}
}
