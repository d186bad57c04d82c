package delivery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/unisondb/unisondb/dbkernel"
)

// Pump brings one namespace's changes to one notifier. One goroutine reads,
// sends and settles; another saves the cursor.
type Pump struct {
	opts   Options
	lookUp finder
	logger hclog.Logger
	saver  *saver

	// Run's alone. They outlive a handle of the namespace, so that what was
	// accepted isn't sent again.
	known    bool   // read says something
	unsaved  bool   // it has to be made durable before anything is sent
	read     Cursor // all up to it was taken in, into the window or past it
	seen     Record // the last record of which anything was taken in, before a restart too
	window   window
	page     *Cursor // of a snapshot: what read becomes when the window is empty
	lost     error   // why the cursor is lost, until the notifier knows
	failures int     // batches in a row of which nothing was accepted
	sendCtx  context.Context

	mu     sync.Mutex
	status Status
	log    history  // the namespace's handle; nil while there is none
	pin    follower // what keeps the log
	leave  context.CancelCauseFunc
}

// errNotOwned: another node owns the namespace.
var errNotOwned = errors.New("this node doesn't own the namespace")

// errReadOnly is errNotOwned, learnt from a cursor that couldn't be written.
var errReadOnly = fmt.Errorf("%w: %w", errNotOwned, dbkernel.ErrReadOnly)

// New prepares a pump. An error is one of the options'.
func New(o Options) (*Pump, error) { return newPump(o, nil) }

// newPump is New with another way to find the namespace; nil is Options.Source's.
func newPump(o Options, find finder) (*Pump, error) {
	o, err := o.validated()
	if err != nil {
		return nil, fmt.Errorf("the delivery of notifier %q in namespace %q: %w", o.Name, o.Namespace, err)
	}
	p := &Pump{opts: o, lookUp: find, logger: o.Logger.With("notifier", o.Name, "namespace", o.Namespace)}
	if find == nil {
		p.lookUp = o.find
	}
	p.window = window{maxEvents: o.MaxBatch, latestPerKey: o.LatestPerKey}
	p.saver = newSaver(o.Cursor, p.saved, p.saveFailed)
	p.status = Status{Namespace: o.Namespace, State: StateStopped}
	return p, nil
}

// Run delivers until ctx ends; then it saves the cursor and returns, within twice
// Options.Grace. It may be called once.
func (p *Pump) Run(ctx context.Context) {
	saving, stopSaving := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.saver.run(saving, p.opts.Grace)
	}()
	var hangUp context.CancelFunc
	p.sendCtx, hangUp = context.WithCancel(context.WithoutCancel(ctx))
	grace := make(chan *time.Timer, 1)
	stop := context.AfterFunc(ctx, func() { grace <- time.AfterFunc(p.opts.Grace, hangUp) })
	p.sessions(ctx)
	if !stop() {
		(<-grace).Stop()
	}
	hangUp()
	stopSaving()
	<-done
	p.setState(StateStopped)
}

// sessions follows the namespace through handle after handle.
func (p *Pump) sessions(ctx context.Context) {
	failures := 0
	for ctx.Err() == nil {
		p.setState(StateWaiting)
		lived, err := p.session(ctx)
		if lived {
			failures = 0
		}
		failures++
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errNotOwned):
			p.forget()
			// Nothing is sent before a cursor can be written again.
			p.unsaved = errors.Is(err, dbkernel.ErrReadOnly)
		case errors.Is(err, dbkernel.ErrSuperseded), errors.Is(err, dbkernel.ErrClosed):
		case errors.Is(err, errLost), errors.Is(err, dbkernel.ErrTrimmed):
			p.lose(err)
		default:
			p.fail(err)
		}
		sleep(ctx, min(backoff(failures, 0), 5*time.Second))
	}
}

// session follows one handle of the namespace. It answers whether it got as far as
// reading, and why it ended.
func (p *Pump) session(ctx context.Context) (lived bool, err error) {
	if !p.opts.Owned() {
		return false, errNotOwned
	}
	h, err := p.lookUp()
	if err != nil {
		return false, err
	}
	ctx, leave := context.WithCancelCause(ctx)
	defer leave(nil)
	s := &session{Pump: p, h: h}
	defer s.close()
	p.attach(h, leave)
	defer p.attach(nil, nil)
	if err := s.open(ctx); err != nil {
		return false, causeOf(ctx, err)
	}
	p.clearError()
	if err := s.snapshot(ctx); err != nil {
		return true, causeOf(ctx, err)
	}
	return true, causeOf(ctx, s.follow(ctx))
}

// causeOf is why a context ended, where that is why something failed.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.Canceled) {
		return cause
	}
	return err
}

// forget drops what was read: another node goes on from the durable cursor.
func (p *Pump) forget() {
	p.known, p.unsaved, p.read, p.seen, p.page, p.lost = false, false, Cursor{}, Record{}, nil, nil
	p.window.clear()
	p.saver.forget()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status.Cursor, p.status.Saved, p.status.Pending = dbkernel.Position{}, dbkernel.Position{}, 0
	p.status.LastError = ""
}

// lose notes that the cursor is lost. What was read and not settled goes with it: what
// can be delivered of it comes again.
func (p *Pump) lose(cause error) {
	if p.lost == nil {
		p.mu.Lock()
		p.status.CursorsLost++
		p.mu.Unlock()
		p.logger.Warn("the notifier's cursor is lost; it gets a reset and begins again", "cause", cause, "from", p.opts.RestartFrom)
		p.report(EventCursorLost, cause)
	}
	p.lost = cause
	p.page = nil
	p.window.clear()
}

func (p *Pump) report(kind EventKind, err error) {
	p.opts.OnEvent(Event{Notifier: p.opts.Name, Namespace: p.opts.Namespace, Kind: kind, Err: err})
}

// attach tells Status and the saver which handle is in use.
func (p *Pump) attach(h history, leave context.CancelCauseFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log, p.leave = h, leave
	if h == nil {
		p.pin = nil
	}
}

func (p *Pump) setPin(f follower) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pin = f
}

// saved is told by the saver what is durable: the log isn't needed any more up to there.
func (p *Pump) saved(c Cursor) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status.Saved = c.Position()
	if p.pin != nil {
		p.pin.Ack(c.Position().LSN)
	}
}

// saveFailed is told by the saver why it can't, once until it can again.
func (p *Pump) saveFailed(err error) {
	if errors.Is(err, dbkernel.ErrReadOnly) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.leave != nil {
			p.leave(errReadOnly)
		}
		return
	}
	p.logger.Warn("the notifier's cursor can't be saved; it is tried again", "error", err)
	p.report(EventCursorUnsaved, err)
}

func (p *Pump) setState(s State) { p.swapState(s) }

func (p *Pump) swapState(s State) (before State) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before, p.status.State = p.status.State, s
	return before
}

// fail notes why delivery doesn't go on.
func (p *Pump) fail(err error) {
	p.mu.Lock()
	first := p.status.LastError == ""
	p.status.LastError, p.status.LastErrorAt = err.Error(), time.Now()
	p.mu.Unlock()
	if first {
		p.logger.Warn("delivery doesn't go on; it is tried again", "error", err)
	}
}

// clearError forgets why there was no session, unless something is refused.
func (p *Pump) clearError() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failures == 0 && p.window.delayed == 0 {
		p.status.LastError = ""
	}
}

// Status says where the pump stands. It may be called concurrently.
func (p *Pump) Status() Status {
	p.mu.Lock()
	s, log := p.status, p.log
	p.mu.Unlock()
	if log != nil && !s.Cursor.Lineage.IsZero() {
		if commit := log.CommitLSN(); commit > s.Cursor.LSN {
			s.LagRecords = commit - s.Cursor.LSN
		}
	}
	if d := p.opts.DeadLetters; d != nil {
		s.DeadLetters = d.count(p.opts.Namespace)
	}
	return s
}
