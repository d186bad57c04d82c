package delivery

import (
	"cmp"
	"context"
	"errors"
	"time"

	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// send sends what is due, and settles what was answered.
func (s *session) send(ctx context.Context) error {
	if !s.opts.Owned() {
		return errNotOwned
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.window.latestPerKey && s.window.unsent > 0 {
		s.window.coalesce()
	}
	events, at := s.window.batch(time.Now())
	s.window.sent()
	a, err := s.notify(events)
	if err != nil && ctx.Err() != nil {
		return ctx.Err() // the pump stops
	}
	if err != nil {
		return s.stall(ctx, err, 0)
	}
	letters, refused := s.settle(events, at, a)
	s.settled()
	if err := s.bury(ctx, letters); err != nil {
		return err
	}
	reason, stalled := a.stalled()
	switch {
	case stalled && a.accepted == 0:
		return s.stall(ctx, errors.New(reason), a.wait)
	case stalled:
		s.failures = 0
		return s.stall(ctx, errors.New(reason), a.wait)
	}
	s.answered(refused)
	return s.waitUntil(ctx, time.Now().Add(a.wait))
}

// notify hands a batch over and judges the answer. It outlives Run's context by the
// grace, so that an answer that is under way is heard.
func (s *session) notify(events []*pluginv1.Event) (answer, error) {
	s.inFlight(time.Now())
	r, err := s.opts.Target.Notify(s.sendCtx, &pluginv1.NotifyRequest{
		Namespace: s.opts.Namespace, Lineage: s.lineage.String(), Events: events,
	})
	s.inFlight(time.Time{})
	if err != nil {
		return answer{}, err
	}
	a, err := judge(events, r)
	if err != nil {
		s.logger.Error("an answer of the plugin breaks the contract; nothing of it counts", "error", err)
		s.report(EventBadAnswer, err)
	}
	return a, err
}

// settle takes out of the window what was accepted, and gives what was refused its
// next turn. It answers what is refused for good, which stays in the window
// until it is set aside, and why something was refused, if it was.
func (s *session) settle(events []*pluginv1.Event, at []int, a answer) (letters []letter, refused string) {
	now := time.Now()
	accepted := make([]bool, len(s.window.entries))
	refusals := 0
	for i, place := range at {
		rejection := a.rejected[i]
		if rejection == nil {
			accepted[place] = true
			continue
		}
		cause := rejection.GetCause()
		invalid := cause == pluginv1.Rejection_CAUSE_INVALID
		if !invalid && cause != pluginv1.Rejection_CAUSE_REFUSED {
			continue
		}
		e := &s.window.entries[place]
		refusals++
		if e.refusals++; e.refusals == 1 {
			e.first = now
		}
		refused = cmp.Or(rejection.GetReason(), "an event was refused")
		if e.dead = invalid || e.refusals >= s.opts.MaxRefusals; e.dead {
			letters = append(letters, letter{
				namespace: s.opts.Namespace, lineage: s.lineage.String(), event: events[i],
				reason: refused, refusals: e.refusals, first: e.first, last: now,
			})
			continue
		}
		e.not = now.Add(backoff(e.refusals, a.wait))
	}
	s.window.settle(func(i int) bool { return accepted[i] })
	if a.accepted > 0 {
		s.what = settledEvents
	}
	s.mu.Lock()
	s.status.Delivered += uint64(a.accepted)
	s.status.Refusals += uint64(refusals)
	s.mu.Unlock()
	return letters, refused
}

// bury sets events aside for good, durably, before anything passes them. Where there is no
// room it waits for some: nothing is lost, and the log is kept as long as it may be.
func (s *session) bury(ctx context.Context, letters []letter) error {
	if len(letters) == 0 {
		return nil
	}
	for tries := 1; s.opts.DeadLetters != nil; tries++ {
		room, err := s.opts.DeadLetters.add(letters)
		if err == nil {
			break
		}
		s.fail(err)
		if tries == 1 {
			s.report(EventDeadLettersFull, err)
			s.logger.Error("an event can't be set aside; delivery stands still until it can", "error", err)
		}
		before := s.swapState(StateFull)
		t := time.NewTimer(backoff(tries, 0))
		select {
		case <-room:
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
		s.setState(before)
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	first := letters[0]
	s.logger.Warn("events were refused for good and set aside", "events", len(letters), "first_lsn", first.event.Lsn, "index", first.event.Index, "reason", first.reason, "refusals", first.refusals)
	for _, l := range letters {
		s.report(EventDeadLetter, errors.New(l.reason))
	}
	s.window.settle(func(i int) bool { return s.window.entries[i].dead })
	s.what = settledEvents
	s.settled()
	return nil
}

// settled tells how far everything is settled, while the log is followed. Before that the
// window doesn't say.
func (s *session) settled() {
	if s.following {
		s.progress()
	}
}

// stall notes that a batch wasn't accepted, and waits before the next try.
func (s *session) stall(ctx context.Context, err error, asked time.Duration) error {
	s.failures++
	s.fail(err)
	before := s.swapState(StateRetrying)
	defer s.setState(before)
	return s.waitUntil(ctx, time.Now().Add(backoff(s.failures, asked)))
}

// answered notes that the other side works, and what it refused, if anything. That is
// shown until everything refused is settled.
func (s *session) answered(refused string) {
	s.failures = 0
	s.mu.Lock()
	again := s.status.LastError != "" && refused == "" && s.window.delayed == 0
	switch {
	case refused != "":
		s.status.LastError, s.status.LastErrorAt = refused, time.Now()
	case again:
		s.status.LastError = ""
	}
	s.mu.Unlock()
	if again {
		s.logger.Info("delivery goes on")
	}
}

func (s *session) inFlight(since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.InFlightSince = since
}
