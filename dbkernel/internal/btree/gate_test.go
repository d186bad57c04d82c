package btree

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func enter(t *testing.T, g *gate) *ticket {
	t.Helper()
	k := new(ticket)
	if err := g.enter(k); err != nil {
		t.Fatal(err)
	}
	return k
}

func TestGateAloneWaitsForReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(10)
		first, second := enter(t, g), enter(t, g)
		var wg sync.WaitGroup
		ran := false
		wg.Go(func() {
			if err := g.alone(time.Minute, func() error { ran = g.readers == 0; return nil }); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		entered := false
		wg.Go(func() {
			k := new(ticket)
			if err := g.enter(k); err != nil {
				t.Error(err)
				return
			}
			entered = true
			g.leave(k)
		})
		synctest.Wait()
		if entered || ran {
			t.Error("a reader got in, or fn ran, while readers were there")
		}
		g.leave(second)
		g.leave(first)
		wg.Wait()
		if !entered || !ran {
			t.Error("not everyone got in")
		}
	})
}

// TestGateAloneLosesPatience holds a snapshot for good, and asks for another one
// meanwhile: that must not wait for as long.
func TestGateAloneLosesPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(10)
		held := enter(t, g)
		start := time.Now()
		var nested time.Duration
		var wg sync.WaitGroup
		wg.Go(func() {
			time.Sleep(time.Millisecond) // virtual: alone is waiting by then
			g.leave(enter(t, g))
			nested = time.Since(start)
		})
		err := g.alone(30*time.Second, func() error { t.Error("ran under a reader"); return nil })
		if err == nil || !strings.Contains(err.Error(), "1 open snapshots (the oldest for 30s)") || time.Since(start) != 30*time.Second {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
		wg.Wait()
		if nested > barTime {
			t.Errorf("a second snapshot waited %s", nested)
		}
		g.leave(held)
		if err := g.alone(time.Second, func() error { return nil }); err != nil {
			t.Error(err)
		}
	})
}

// TestGateLetsReadersPassABackup: a backup takes minutes, and readers don't wait.
func TestGateLetsReadersPassABackup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(10)
		end := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := g.visit(true, func() error { <-end; return nil }); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			if err := g.alone(30*time.Second, func() error { return nil }); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		start := time.Now()
		g.leave(enter(t, g))
		if d := time.Since(start); d != 0 {
			t.Errorf("a reader waited %s", d)
		}
		close(end)
		wg.Wait()
	})
}

func TestGateClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1)
		held := enter(t, g)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if err := g.enter(new(ticket)); !errors.Is(err, ErrClosed) {
					t.Errorf("enter: %v", err)
				}
			})
		}
		synctest.Wait()
		if !g.close() || g.close() {
			t.Error("closed not exactly once")
		}
		wg.Wait()
		drained := false
		wg.Go(func() { g.drain(); drained = true })
		synctest.Wait()
		if drained {
			t.Error("drained under a reader")
		}
		g.leave(held)
		wg.Wait()
		if err := g.visit(false, func() error { return nil }); !errors.Is(err, ErrClosed) {
			t.Errorf("visit: %v", err)
		}
	})
}

func TestGateKnowsTheOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(10)
		var tickets []*ticket
		for range 3 {
			tickets = append(tickets, enter(t, g))
			time.Sleep(time.Second)
		}
		age := func(want time.Duration) {
			t.Helper()
			var s Stats
			g.describe(&s)
			if s.OldestSnapshot != want {
				t.Errorf("oldest %s, expected %s", s.OldestSnapshot, want)
			}
		}
		age(3 * time.Second)
		g.leave(tickets[1])
		age(3 * time.Second)
		g.leave(tickets[0])
		age(time.Second)
		g.leave(tickets[2])
		age(0)
	})
}
