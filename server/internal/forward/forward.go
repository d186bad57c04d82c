// Package forward passes an HTTP request of the data API on to a hub that can answer it,
// most often the owner of its namespace, and that hub's answer back. A request is
// passed on once; one that a hub has taken up is never given to a second.
package forward

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// Defaults of Options.
const (
	// DefaultHold is how long a request waits for a hub that takes it.
	DefaultHold = 10 * time.Second
	// DefaultMaxWaiting is how many requests may wait for that at one time. One that
	// waits costs a goroutine and its connection, and nothing of its body.
	DefaultMaxWaiting = 2048
)

// Target is a hub that may answer a request.
type Target struct {
	ID      string
	Address string // of its gRPC listener
}

// Peers are connections to other hubs. Hubs doesn't wait for one.
type Peers interface {
	Hubs(address string) (dbv1.HubsClient, error)
}

// Options configure a Forwarder. Those without a default are required.
type Options struct {
	NodeID string // of this hub
	Peers  Peers
	// Resolve says which hubs may answer requests to a namespace, the best first: for a
	// write its owner alone. None means that nobody is known at the moment, which may pass.
	// It answers ErrNamespaceNotFound for a namespace that no hub has. It must not wait.
	Resolve func(namespace string, write bool) ([]Target, error)
	// Hold is how long a request waits until a hub takes it up; 0: DefaultHold.
	Hold time.Duration
	// MaxWaiting bounds the requests that wait for that; 0: DefaultMaxWaiting.
	MaxWaiting int
}

// Forwarder is both ends: it passes requests on, and serves those that other hubs have
// passed on. Its methods may be called concurrently.
type Forwarder struct {
	o       Options
	waiting *semaphore.Weighted
	counts  counts

	// Of the requests that other hubs have passed on.
	mu       sync.Mutex
	incoming int
	stopping bool
	idle     chan struct{} // closed when stopping and the last one has ended
	cut      chan struct{} // closed when those under way have to end
}

// New makes a Forwarder. Stop ends it.
func New(o Options) *Forwarder {
	if o.Hold == 0 {
		o.Hold = DefaultHold
	}
	if o.MaxWaiting == 0 {
		o.MaxWaiting = DefaultMaxWaiting
	}
	return &Forwarder{o: o, waiting: semaphore.NewWeighted(int64(o.MaxWaiting)), idle: make(chan struct{}), cut: make(chan struct{})}
}

// ErrNamespaceNotFound says that no hub has the namespace.
var ErrNamespaceNotFound = errors.New("no hub has the namespace")

// NotTakenError says that no hub has taken the request up: nothing was done.
type NotTakenError struct {
	Namespace string
	Reason    error // of the last hub, or why none could be asked
}

func (e *NotTakenError) Error() string {
	return fmt.Sprintf("no hub takes the request to namespace %q at the moment: %v", e.Namespace, e.Reason)
}

// Unwrap is for errors.Is.
func (e *NotTakenError) Unwrap() error { return e.Reason }

// CutError says that the hub that had taken the request up was lost before it had
// answered. Whether a write was made isn't known.
type CutError struct {
	Hub string
	Err error
}

func (e *CutError) Error() string {
	return fmt.Sprintf("hub %q took the request up and was lost before it had answered: %v", e.Hub, e.Err)
}

// Unwrap is for errors.Is.
func (e *CutError) Unwrap() error { return e.Err }

// ErrStopped is what a Body answers whose rest isn't wanted.
var ErrStopped = errors.New("the rest of the body isn't wanted")

// Body is the body of a request on its way in.
type Body interface {
	Read(p []byte) (int, error)
	// Stop makes the Read that is under way answer ErrStopped, and those to come, unless they
	// fail by themselves. It doesn't wait for it.
	Stop()
	// Rewind begins anew, where what was read is still there.
	Rewind() bool
}

// Request is what has to be known of a request besides its method, path and headers.
type Request struct {
	Namespace string
	// Write says that it may change something: it goes to the owner alone, and never
	// again once that has taken it up.
	Write  bool
	Body   Body  // nil: it has none
	Length int64 // of Body; -1: unknown
}

// Knows says whether a hub is known that has the namespace, or one may be known soon.
func (f *Forwarder) Knows(namespace string) bool {
	_, err := f.o.Resolve(namespace, false)
	return err == nil
}

// Forward passes a request on and its answer back. It waits until a hub takes the
// request up, Options.Hold at most; nothing of the body is read before. Errors are
// ErrNamespaceNotFound, *NotTakenError, *CutError, that of the Body, and that of r's
// context. Behind one of an answer that was begun, only a cut connection tells the
// client that it isn't whole.
func (f *Forwarder) Forward(w http.ResponseWriter, r *http.Request, q Request) error {
	p := &passing{Forwarder: f, w: w, r: r, q: q, until: time.Now().Add(f.o.Hold)}
	defer p.leaveQueue()
	err := p.run()
	f.counts.note(err)
	return err
}

// Stats are numbers since the start, and the requests that wait now.
type Stats struct {
	Answered, NotTaken, Cut uint64
	Failed                  uint64 // for the client: its body ended early, or it went away
	Waiting                 int64
}

// Stats says how requests went that this hub has passed on.
func (f *Forwarder) Stats() Stats {
	c := &f.counts
	return Stats{Answered: c.answered.Load(), NotTaken: c.notTaken.Load(), Cut: c.cut.Load(), Failed: c.failed.Load(), Waiting: c.waiting.Load()}
}

type counts struct {
	answered, notTaken, cut, failed atomic.Uint64
	waiting                         atomic.Int64
}

func (c *counts) note(err error) {
	var notTaken *NotTakenError
	var cut *CutError
	switch {
	case err == nil:
		c.answered.Add(1)
	case errors.As(err, &notTaken), errors.Is(err, ErrNamespaceNotFound):
		c.notTaken.Add(1)
	case errors.As(err, &cut):
		c.cut.Add(1)
	default:
		c.failed.Add(1)
	}
}

// Stop takes no more requests of other hubs, and waits for those under way until ctx
// ends: then they are cut off. It returns when the last has ended.
func (f *Forwarder) Stop(ctx context.Context) error {
	f.mu.Lock()
	first := !f.stopping
	f.stopping = true
	if first && f.incoming == 0 {
		close(f.idle)
	}
	f.mu.Unlock()
	select {
	case <-f.idle:
		return nil
	case <-ctx.Done():
	}
	if first {
		close(f.cut)
	}
	<-f.idle
	return fmt.Errorf("requests of other hubs were cut off: they took longer than the time to stop: %w", ctx.Err())
}

// begin notes a request that another hub has passed on; false: the hub stops.
func (f *Forwarder) begin() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopping {
		return false
	}
	f.incoming++
	return true
}

func (f *Forwarder) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.incoming--
	if f.stopping && f.incoming == 0 {
		close(f.idle)
	}
}
