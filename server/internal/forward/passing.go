package forward

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"
)

// How long this end waits for what, within the time of a hold.
const (
	// lookAgain is after how long without a connection the hub is looked up again.
	lookAgain = time.Second
	// nextHub is how long a hub may take to take a read up where others could.
	nextHub = 2 * time.Second
	// firstPause and longestPause are between two attempts, behind a hub that was reached
	// and didn't take the request, or that wasn't there.
	firstPause, longestPause = 10 * time.Millisecond, 200 * time.Millisecond
)

// passing is one request on its way to another hub. It belongs to the request's
// goroutine.
type passing struct {
	*Forwarder
	w      http.ResponseWriter
	r      *http.Request
	q      Request
	until  time.Time // the hold's end
	pause  time.Duration
	queued bool
}

// notTaken is why one hub didn't take the request: another attempt may be made.
type notTaken struct{ reason error }

func (e *notTaken) Error() string { return e.reason.Error() }

// Reasons of notTaken that this end has.
var (
	errNobody       = errors.New("nobody is known to own it")
	errTooMany      = errors.New("too many requests wait for another hub already")
	errNoConnection = errors.New("there is no connection to the hub")
	errSilent       = errors.New("the hub doesn't answer")
)

// run makes attempts until one is final.
func (p *passing) run() error {
	var reason error // of the last round that wasn't cut off by the end of the time, if there was one
	for {
		if !p.enterQueue() {
			return &NotTakenError{p.q.Namespace, errTooMany}
		}
		targets, err := p.o.Resolve(p.q.Namespace, p.q.Write)
		if err != nil {
			return err
		}
		said := errNobody
		for _, t := range targets {
			err := p.attempt(t, len(targets) == 1)
			var not *notTaken
			if !errors.As(err, &not) {
				return err
			}
			said = fmt.Errorf("hub %q: %w", t.ID, not.reason)
		}
		if reason == nil || time.Now().Before(p.until) {
			reason = said
		}
		if err := p.rest(); err != nil {
			return err
		}
		if !time.Now().Before(p.until) {
			return &NotTakenError{p.q.Namespace, reason}
		}
	}
}

// rest waits a moment before the next round, a little longer each time.
func (p *passing) rest() error {
	p.pause = min(max(2*p.pause, firstPause), longestPause)
	d := min(p.pause/2+rand.N(p.pause), time.Until(p.until))
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-p.r.Context().Done():
		return p.r.Context().Err()
	}
}

// enterQueue counts the request among those that wait, unless there are too many.
func (p *passing) enterQueue() bool {
	if !p.queued && p.waiting.TryAcquire(1) {
		p.queued = true
		p.counts.waiting.Add(1)
	}
	return p.queued
}

func (p *passing) leaveQueue() {
	if p.queued {
		p.queued = false
		p.counts.waiting.Add(-1)
		p.waiting.Release(1)
	}
}
