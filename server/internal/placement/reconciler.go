package placement

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Placer brings one namespace to what is wanted of it, from whatever it is. It is called
// again after an error, and must then go on where it stopped. Calls for one name follow one
// another; those for different names run side by side.
type Placer interface {
	Place(ctx context.Context, name string, w Want) error
}

// How many namespaces are placed side by side, and how long one that failed waits: twice as long
// each time.
const (
	width      = 4
	firstRetry = 500 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// Reconciler has a Placer do what differs from what is wanted, and again where it fails. A
// namespace that can't be placed keeps no other one waiting. Its methods may be called
// concurrently.
type Reconciler struct {
	placer Placer
	log    hclog.Logger

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	entries map[string]*entry
	queue   []string
	running int
	changed chan struct{} // closed, and another one made, when a placement has ended
}

// entry is one namespace.
type entry struct {
	want    Want
	placed  bool // want is what is
	busy    bool // a placement is under way
	dirty   bool // it has to be placed once more behind that
	queued  bool
	failure error
	retry   time.Duration // wait after the next failure
	timer   *time.Timer   // of the next attempt
}

// New makes a reconciler. Nothing is wanted yet.
func New(p Placer, log hclog.Logger) *Reconciler {
	r := &Reconciler{placer: p, log: log, entries: map[string]*entry{}, changed: make(chan struct{})}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// Close ends placements under way, and returns when none runs.
func (r *Reconciler) Close() {
	r.mu.Lock()
	r.cancel()
	r.queue = nil
	for _, e := range r.entries {
		if e.timer != nil {
			e.timer.Stop()
		}
	}
	r.mu.Unlock()
	r.wg.Wait()
}

// Want replaces what is wanted. Names that are absent are left as they are.
func (r *Reconciler) Want(wanted map[string]Want) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, e := range r.entries {
		if _, ok := wanted[name]; !ok && !e.busy {
			r.forgetLocked(name, e)
		}
	}
	for name, w := range wanted {
		e := r.entries[name]
		if e == nil {
			e = &entry{retry: firstRetry}
			r.entries[name] = e
		} else if e.want.Equal(w) {
			continue
		}
		e.want, e.placed, e.retry = w, false, firstRetry
		r.queueLocked(name, e)
	}
	r.workLocked()
}

func (r *Reconciler) forgetLocked(name string, e *entry) {
	if e.timer != nil {
		e.timer.Stop()
	}
	delete(r.entries, name)
}

// Again places a namespace once more, at once: something has happened to it.
func (r *Reconciler) Again(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.entries[name]; e != nil {
		e.placed, e.retry = false, firstRetry
		r.queueLocked(name, e)
		r.workLocked()
	}
}

// Wanted is what is wanted of a namespace; false: nobody has said.
func (r *Reconciler) Wanted(name string) (Want, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.entries[name]
	if e == nil {
		return Want{}, false
	}
	return e.want, true
}

// Problem is why a namespace isn't where it is wanted; nil: it is, or is on its way.
func (r *Reconciler) Problem(name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.entries[name]; e != nil {
		return e.failure
	}
	return nil
}

// Problems counts the namespaces that aren't where they are wanted.
func (r *Reconciler) Problems() (count int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.entries {
		if e.failure != nil {
			count++
		}
	}
	return count
}

// Settled says whether all is where it is wanted, and answers a channel that is closed when
// that may have changed.
func (r *Reconciler) Settled() (bool, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.entries {
		if !e.placed {
			return false, r.changed
		}
	}
	return true, r.changed
}

func (r *Reconciler) queueLocked(name string, e *entry) {
	if e.timer != nil {
		e.timer.Stop()
		e.timer = nil
	}
	switch {
	case e.busy:
		e.dirty = true
	case !e.queued && r.ctx.Err() == nil:
		e.queued = true
		r.queue = append(r.queue, name)
	}
}

// workLocked sees to it that somebody works on the queue.
func (r *Reconciler) workLocked() {
	for range min(len(r.queue), width-r.running) {
		r.running++
		r.wg.Go(r.work)
	}
}

// work places one namespace after the other until none is left.
func (r *Reconciler) work() {
	for {
		name, e, w := r.next()
		if e == nil {
			return
		}
		err := r.placer.Place(r.ctx, name, w)
		r.done(name, e, w, err)
	}
}

func (r *Reconciler) next() (string, *entry, Want) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.queue) > 0 && r.ctx.Err() == nil {
		name := r.queue[0]
		r.queue = r.queue[1:]
		if e := r.entries[name]; e != nil && e.queued {
			e.queued, e.busy, e.dirty = false, true, false
			return name, e, e.want
		}
	}
	r.running--
	return "", nil, Want{}
}

// done notes what has come of a placement.
func (r *Reconciler) done(name string, e *entry, w Want, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.tellLocked()
	e.busy = false
	if r.ctx.Err() != nil {
		return
	}
	if err != nil && (e.failure == nil || e.failure.Error() != err.Error()) {
		r.log.Warn("namespace isn't where it is wanted", "namespace", name, "wanted", w.Role.String(), "error", err)
	}
	e.failure = err
	switch {
	case e.dirty:
		r.queueLocked(name, e)
	case err != nil:
		e.timer = time.AfterFunc(e.retry, func() { r.retry(name) })
		e.retry = min(2*e.retry, lastRetry)
	default:
		e.placed, e.retry = true, firstRetry
	}
}

// retry places a namespace that failed once more.
func (r *Reconciler) retry(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.entries[name]; e != nil && !e.placed {
		r.queueLocked(name, e)
		r.workLocked()
	}
}

func (r *Reconciler) tellLocked() {
	close(r.changed)
	r.changed = make(chan struct{})
}
