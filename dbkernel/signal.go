package dbkernel

import (
	"context"
	"sync/atomic"
)

// signal wakes whoever waits for a number to rise. Raising it takes no lock and
// costs nothing while nobody waits.
type signal struct {
	ch atomic.Pointer[chan struct{}]
}

// wait blocks until reached answers true. It is asked again after each
// broadcast, so reached must read what the broadcaster wrote before.
func (s *signal) wait(ctx context.Context, reached func() bool) error {
	for !reached() {
		ch := s.channel()
		if reached() {
			return nil
		}
		select {
		case <-*ch:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (s *signal) channel() *chan struct{} {
	for {
		if ch := s.ch.Load(); ch != nil {
			return ch
		}
		ch := make(chan struct{})
		if s.ch.CompareAndSwap(nil, &ch) {
			return &ch
		}
	}
}

// broadcast wakes all that wait.
func (s *signal) broadcast() {
	if s.ch.Load() == nil {
		return
	}
	if ch := s.ch.Swap(nil); ch != nil {
		close(*ch)
	}
}
