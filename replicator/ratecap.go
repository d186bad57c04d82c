package replicator

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// rateCap spaces what is sent so that it stays under a number of bytes a second.
// A nil one doesn't.
type rateCap struct {
	limiter *rate.Limiter
	users   int // the set's lock guards it
}

// What may be sent at once after a rest: an eighth of a second's bytes, within
// these.
const (
	minBurst = 4 << 10
	maxBurst = 1 << 20
)

// newRateCap makes a cap; nil where there is no limit.
func newRateCap(bytesPerSecond int64) *rateCap {
	if bytesPerSecond <= 0 {
		return nil
	}
	burst := min(max(bytesPerSecond/8, minBurst), maxBurst)
	return &rateCap{limiter: rate.NewLimiter(rate.Limit(bytesPerSecond), int(burst))}
}

// take takes n bytes and says from when on they may be sent.
func (c *rateCap) take(n int) time.Time {
	now := time.Now()
	if c == nil {
		return now
	}
	at := now
	for n > 0 {
		part := min(n, c.limiter.Burst())
		n -= part
		at = now.Add(c.limiter.ReserveN(now, part).DelayFrom(now))
	}
	return at
}

// rateCaps are the caps of a node's followers: all streams of one share it.
type rateCaps struct {
	bytesPerSecond int64

	mu    sync.Mutex
	nodes map[string]*rateCap
}

// enter finds the cap of a node and keeps it until leave.
func (s *rateCaps) enter(nodeID string) *rateCap {
	if s.bytesPerSecond <= 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.nodes[nodeID]
	if c == nil {
		c = newRateCap(s.bytesPerSecond)
		if s.nodes == nil {
			s.nodes = make(map[string]*rateCap)
		}
		s.nodes[nodeID] = c
	}
	c.users++
	return c
}

func (s *rateCaps) leave(nodeID string) {
	if s.bytesPerSecond <= 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.nodes[nodeID]; c != nil {
		if c.users--; c.users == 0 {
			delete(s.nodes, nodeID)
		}
	}
}

// pause waits for a time, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
