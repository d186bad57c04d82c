package replicator

import (
	"context"
	"time"
)

// Waits before a stream is given up because its source is cut off: it lives, and has
// heard nothing of the owner itself. The owner, or a node that is in contact with it, may well be
// among the other addresses. Where none of them knows more, the next look comes later.
const (
	cutOffFirst = 4 * time.Second
	cutOffMax   = 8 * time.Minute
	cutOffTick  = time.Second
)

// cutOff ends a stream because its source is cut off from the owner. fresh: that wasn't so
// all the time.
type cutOff struct{ fresh bool }

// Error implements error.
func (c *cutOff) Error() string {
	return "the source has heard nothing of the namespace's owner for some time: another one is tried"
}

// patience is how long the source after this one may be cut off.
func (c *cutOff) patience(old time.Duration) time.Duration {
	if c.fresh {
		return cutOffFirst
	}
	return min(2*old, cutOffMax)
}

// ownerSilence is for how long nothing was heard of the owner; ok: the source speaks, so that
// it could have said.
func (l *lag) ownerSilence() (silence time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.nowLocked()
	return now - l.owner.at, l.owner.known && l.source.known && now-l.source.at <= l.patienceLocked(1)
}

// watchSource ends the stream of address i when its source has been cut off for longer than
// patience, and another address can be connected to. It returns when ctx ends.
func (u *Upstream) watchSource(ctx context.Context, cancel context.CancelCauseFunc, s *Sink, i int, patience time.Duration) {
	tick := time.NewTicker(cutOffTick)
	defer tick.Stop()
	began, fresh := time.Now(), false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		silence, ok := s.lag.ownerSilence()
		fresh = fresh || ok && silence <= cutOffFirst
		if !ok || silence <= patience || time.Since(began) <= patience {
			continue
		}
		for j := range u.conns {
			if j != i && u.connects(ctx, j) {
				cancel(&cutOff{fresh})
				return
			}
		}
	}
}
