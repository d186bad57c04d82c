package dbkernel

import (
	"context"
	"errors"
	"sync"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
)

const (
	groupRequests = 1000    // one pwritev takes 1,024 buffers
	groupBytes    = 8 << 20 // a larger request makes a group by itself
)

// request is one writer's wish, answered through done.
type request struct {
	batch *codec.Builder // of the owner
	guard *guard         // what the batch relies on; nil for blind writes
	free  bool           // passes whatever the quota says

	replica []codec.Record // of a replica: records of the owner, checked
	upTo    uint64         // the owner's commit LSN

	control func() // runs in the committer, between groups

	bytes int
	done  chan struct{} // has room for the one message that the answer is there

	// The answer, set before done has its message.
	position Position
	err      error
	retryAt  uint64 // with errStale: the LSN to have seen before trying again
}

// errStale sends a request back: what it relies on has changed.
var errStale = errors.New("changed meanwhile")

// requestPool has requests used again: a busy owner would make hundreds of
// thousands a second. One for each DB, so that a test in virtual time has its own.
type requestPool struct{ pool sync.Pool }

func (p *requestPool) get() *request {
	if r, ok := p.pool.Get().(*request); ok {
		return r
	}
	return newRequest()
}

// put gives back a request whose answer was read. Nobody else may hold it.
func (p *requestPool) put(r *request) {
	*r = request{done: r.done}
	p.pool.Put(r)
}

func newRequest() *request { return &request{done: make(chan struct{}, 1)} }

// finish answers the request. It may be used again from then on.
func (r *request) finish(err error) {
	r.err = err
	r.done <- struct{}{}
}

// queue collects requests while the committer is busy. The committer is there only
// while there is something to do: a writer for its own group, or else a goroutine.
type queue struct {
	mu      sync.Mutex
	waiting []*request
	running bool
	closed  bool // takes nothing any more
}

// close keeps away those who ask for something without using the namespace.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}

func (q *queue) busy() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.running || len(q.waiting) > 0
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

// take removes the next group: controls alone, or requests. It answers nil,
// and the committer must end, when there is nothing left.
func (q *queue) take() []*request {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.overLocked() {
		return nil
	}
	n, bytes := 0, 0
	for _, r := range q.waiting {
		if n > 0 && (n == groupRequests || bytes+r.bytes > groupBytes || r.control != nil || q.waiting[0].control != nil) {
			break
		}
		bytes += r.bytes
		n++
	}
	group := q.waiting[:n:n]
	q.waiting = q.waiting[n:]
	return group
}

// over reports whether nothing is left, so that the committer ends.
func (q *queue) over() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.overLocked()
}

func (q *queue) overLocked() bool {
	if len(q.waiting) > 0 {
		return false
	}
	q.running, q.waiting = false, nil
	return true
}

// withdraw takes a request back that the committer has not taken yet.
func (q *queue) withdraw(r *request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, w := range q.waiting {
		if w == r {
			q.waiting = append(q.waiting[:i:i], q.waiting[i+1:]...)
			return true
		}
	}
	return false
}

// submit hands a request to the committer, which may be the caller, and waits for its answer. With a
// context that has ended nothing is begun. One that ends takes the request back if it is still
// waiting; once the committer has it the answer is awaited, so that the caller always learns the outcome.
func (n *Namespace) submit(ctx context.Context, r *request) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	q := &n.queue
	q.mu.Lock()
	q.waiting = append(q.waiting, r)
	first := !q.running
	q.running = true
	q.mu.Unlock()
	switch {
	case first && r.control == nil:
		n.leadGroup()
	case first:
		n.wg.Go(n.commitLoop)
	}
	select {
	case <-r.done:
	case <-ctx.Done():
		if q.withdraw(r) {
			return context.Cause(ctx)
		}
		<-r.done
	}
	return r.err
}

// inCommitter runs fn between two groups.
func (n *Namespace) inCommitter(ctx context.Context, fn func()) error {
	r := newRequest()
	r.control = fn
	return n.submit(ctx, r)
}
