package process

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// Notify hands a batch over. It waits until the plugin is ready, or ctx ends. An error says
// that nothing is known of the batch: it has to be sent again.
func (p *Process) Notify(ctx context.Context, r *pluginv1.NotifyRequest) (*pluginv1.NotifyResponse, error) {
	i, err := p.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer i.done()
	ctx, cancel := context.WithTimeoutCause(ctx, p.timing.Notify, errTooLong)
	defer cancel()
	answer, err := pluginv1.NewNotifierClient(i.link.conn).Notify(ctx, r)
	return answer, i.outcome(ctx, err, fmt.Sprintf("a batch of %d events of namespace %q", len(r.GetEvents()), r.GetNamespace()), p.timing.Notify)
}

// Call hands a request to a data model. It waits while the plugin starts, and answers
// ErrNotReady at once where it is degraded; other errors are the plugin's own, with their code of
// gRPC, or the context's.
func (p *Process) Call(ctx context.Context, r *pluginv1.CallRequest) (*pluginv1.CallResponse, error) {
	i, err := p.acquireSoon(ctx)
	if err != nil {
		return nil, err
	}
	defer i.done()
	ctx, cancel := context.WithTimeoutCause(ctx, p.timing.Call, errTooLong)
	defer cancel()
	answer, err := pluginv1.NewDataModelClient(i.link.conn).Call(ctx, r)
	return answer, i.outcome(ctx, err, fmt.Sprintf("the request %q of namespace %q", printable(r.GetMethod(), 100), r.GetNamespace()), p.timing.Call)
}

// errTooLong ends a call that takes longer than any may.
var errTooLong = errors.New("too long")

// acquire begins a call, once the plugin is ready.
func (p *Process) acquire(ctx context.Context) (*instance, error) {
	for {
		p.mu.Lock()
		i, changed := p.beginLocked(), p.changed
		p.mu.Unlock()
		if i != nil {
			return i, nil
		}
		if err := p.await(ctx, changed); err != nil {
			return nil, err
		}
	}
}

// acquireSoon begins a call, and waits for the plugin only while it starts.
func (p *Process) acquireSoon(ctx context.Context) (*instance, error) {
	for {
		p.mu.Lock()
		i, changed, state, reason := p.beginLocked(), p.changed, p.state, p.reason
		p.mu.Unlock()
		if i != nil {
			return i, nil
		}
		if state == Degraded {
			return nil, fmt.Errorf("%w: %s", ErrNotReady, reason)
		}
		if err := p.await(ctx, changed); err != nil {
			return nil, err
		}
	}
}

func (p *Process) beginLocked() *instance {
	i := p.current
	if i == nil || i.child.hasEnded() || p.open.Err() != nil {
		return nil
	}
	i.calls.Add(1)
	i.active.Add(1)
	i.begun.Add(1)
	return i
}

// deathNotice is how long a call that broke off waits for the news of the process's end.
const deathNotice = 200 * time.Millisecond

// done ends a call.
func (i *instance) done() {
	i.active.Add(-1)
	i.calls.Done()
}

// outcome tells a call's error, and kills a process that took too long.
func (i *instance) outcome(ctx context.Context, err error, what string, limit time.Duration) error {
	if at, ok := ctx.Deadline(); ok && status.Code(err) == codes.DeadlineExceeded && !time.Now().Before(at) {
		<-ctx.Done() // the plugin's end, or the clock, noticed it before our timer did
	}
	switch {
	case err == nil:
		i.succeeded.Store(true)
		return nil
	case errors.Is(context.Cause(ctx), errTooLong):
		i.hung.Store(true)
		i.child.kill(fmt.Sprintf("it didn't answer to %s within %s", what, limit))
		return fmt.Errorf("%w: it didn't answer within %s", ErrHung, limit)
	case ctx.Err() != nil:
		i.abandoned.Store(true)
		return context.Cause(ctx)
	}
	if code := status.Code(err); code != codes.Unavailable && code != codes.Canceled {
		i.succeeded.Store(true) // it answered, if only by an error
		return err
	}
	// Mostly the process has ended. The next call then waits for the next process,
	// instead of failing at once on this one.
	timer := time.NewTimer(deathNotice)
	defer timer.Stop()
	select {
	case <-i.child.exited:
		return fmt.Errorf("the plugin's process ended: %w", err)
	case <-timer.C:
	case <-ctx.Done():
	}
	return err
}
