package process

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// reload asks for the program to be looked at again.
type reload struct {
	done chan error // has room for the answer
}

// Reload looks at the program again and starts it anew. The old process works
// until the new one is ready, if the two can be there at once; if not, it ends first. When ctx
// ends the reload goes on. An error says why the new one doesn't work.
func (p *Process) Reload(ctx context.Context) error {
	r := &reload{done: make(chan error, 1)}
	select {
	case p.reload <- r:
	case <-p.ctx.Done():
		return ErrStopped
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-r.done:
		return err
	case <-p.done:
		return ErrStopped
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r *reload) finish(err error) {
	if r != nil {
		r.done <- err
	}
}

// supervise runs the plugin until it is to stop.
func (p *Process) supervise() {
	defer close(p.done)
	var asked *reload
	failures := 0
	for p.ctx.Err() == nil {
		i, err := p.launch(p.ctx)
		if err == nil {
			p.ready(i)
			asked.finish(nil)
			asked, err = p.work(i, &failures)
		} else {
			failures++
			if p.ctx.Err() == nil {
				asked.finish(err)
				asked = nil
			}
		}
		if asked == nil && err != nil && p.ctx.Err() == nil {
			asked = p.rest(asFailure(err), failures)
		}
		if asked != nil {
			failures = 0
		}
		p.again()
	}
	asked.finish(ErrStopped)
	p.retiring.Wait()
	p.update(func() { p.current, p.state, p.reason = nil, Stopped, "" })
}

// ready lets an instance take calls, in place of the one before it.
func (p *Process) ready(i *instance) {
	i.serving.Go(i.watchLife)
	p.update(func() {
		p.current, p.info, p.program = i, i.info, i.program
		p.state, p.reason = Ready, ""
	})
	p.opts.Logger.Info("plugin is ready", "path", i.program.path, "version", i.info.GetVersion(), "sha256", i.program.sha256, "pid", i.child.number())
}

// again says that the program is started once more.
func (p *Process) again() {
	if p.ctx.Err() != nil {
		return
	}
	p.update(func() {
		p.state = Starting
		p.restarts++
	})
}

// work waits for the end of an instance, or of those that replace it by reloads. It
// answers why the last one ended, or the reload for which it was ended.
func (p *Process) work(i *instance, failures *int) (*reload, error) {
	for {
		select {
		case <-i.child.closed:
			return nil, p.lost(i, failures)
		case <-p.ctx.Done():
			p.withdraw()
			i.retire(p.hurry)
			return nil, nil
		case r := <-p.reload:
			next, err := p.launch(p.ctx)
			switch {
			case err == nil:
				p.replace(i, next)
				i = next
				r.finish(nil)
			case p.mayExclude(err):
				p.withdraw()
				i.retire(p.hurry)
				return r, nil
			default:
				p.keep(err)
				r.finish(err)
			}
		}
	}
}

// replace has a new instance take the calls, and the old one end when its own are done.
func (p *Process) replace(old, next *instance) {
	p.update(func() { p.restarts++ })
	p.ready(next)
	p.retiring.Go(func() { old.retire(p.hurry) })
}

// mayExclude says whether a new process may have failed because the old one is there:
// it holds a port, say.
func (p *Process) mayExclude(err error) bool {
	f := asFailure(err)
	return p.ctx.Err() == nil && f.configuring && f.retry != retryChanged
}

// keep leaves the old process at work although a reload failed.
func (p *Process) keep(err error) {
	if p.ctx.Err() != nil {
		return
	}
	reason := "the reload failed, and the program that was started before goes on: " + err.Error()
	p.opts.Logger.Error("plugin couldn't be reloaded", "reason", reason)
	p.update(func() { p.reason = reason })
}

// withdraw lets nobody begin a call.
func (p *Process) withdraw() { p.update(func() { p.current = nil }) }

// lost is the failure of an instance that ended while it worked.
func (p *Process) lost(i *instance, failures *int) error {
	p.withdraw()
	i.release()
	i.calls.Wait()
	*failures = p.count(i, *failures)
	return i.lost()
}

// count is how many failures in a row there are with the end of an instance that
// worked.
func (p *Process) count(i *instance, before int) int {
	succeeded := i.succeeded.Load()
	switch {
	case i.hung.Load() && !succeeded:
		return before + 1
	case time.Since(i.started) >= p.timing.Stable:
		return 1
	case succeeded: // it is of use, so the circuit breaker stays closed for it
		return min(before+1, quickFailures-1)
	}
	return before + 1
}

// lost says why an instance that worked has ended.
func (i *instance) lost() *failure {
	if why := i.child.why(); why != "" && !i.child.endedByItself() {
		return i.killed(why)
	}
	return i.ended("its process ended")
}

// rest waits until a failed plugin is to be started again, and answers the reload that
// asked for it, if one did. failures is how many there were in a row.
func (p *Process) rest(f *failure, failures int) *reload {
	pause, then := p.pause(f, failures)
	reason := f.reason + then
	p.opts.Logger.Error("plugin doesn't work", "reason", strings.ReplaceAll(reason, "\n", "; "), "failures", failures)
	p.update(func() { p.state, p.reason = Degraded, reason })
	timer := time.NewTimer(pause)
	defer timer.Stop()
	look := time.NewTicker(p.timing.Look)
	defer look.Stop()
	for {
		select {
		case <-timer.C:
			if f.retry != retryChanged {
				return nil
			}
		case <-look.C:
			if p.opts.stamp() != p.seen {
				return nil
			}
		case r := <-p.reload:
			return r
		case <-p.ctx.Done():
			return nil
		}
	}
}

// pause is how long a failed plugin rests, and the words for it.
func (p *Process) pause(f *failure, failures int) (time.Duration, string) {
	byHand := fmt.Sprintf("or at once by 'unisondb operator plugin reload %s'", p.opts.Name)
	switch {
	case f.retry == retryChanged && errors.Is(f, errMisconfigured):
		return p.timing.Rest, "\ncorrect the configuration and run 'unisondb operator reload'"
	case f.retry == retryChanged:
		return p.timing.Rest, "; it is tried again when the file changes, " + byHand
	case f.retry == retryLate:
		return p.timing.Rest, fmt.Sprintf("\nit is tried again in %s, %s", p.timing.Rest, byHand)
	case failures >= quickFailures:
		return p.timing.Rest, fmt.Sprintf("; that happened %d times in a row, so it is tried again in %s, %s", failures, p.timing.Rest, byHand)
	}
	pause := p.timing.BackoffMin << min(failures-1, 20)
	pause = min(pause, p.timing.BackoffMax)
	return jittered(pause), "; it is started again"
}

// jittered spreads what would otherwise happen at once.
func jittered(d time.Duration) time.Duration {
	return d*3/4 + rand.N(d/2+1)
}
