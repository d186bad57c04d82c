package replicator_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
)

var (
	sessionsSeed = flag.Uint64("sessions.seed", 1, "seed of TestSessions")
	sessionsN    = flag.Int("sessions.n", 10_000, "number of sessions of TestSessions")
)

// TestSessions: ten thousand clients hop between a hub, relayers and relayers of
// relayers, while links break and processes end, and carry the highest position that they
// have seen. Each sees what it has written, and nothing older than it has seen before;
// a node that can't show that yet says so when the wait is over.
func TestSessions(t *testing.T) {
	_, enough := seeds(t, *sessionsSeed, 1)
	for seed := *sessionsSeed; !enough(seed - *sessionsSeed); seed++ {
		synctest.Test(t, func(t *testing.T) { newSimulation(t, seed).sessions(*sessionsN) })
		if t.Failed() {
			t.Fatalf("again: go test ./replicator -run TestSessions -sessions.seed=%d", seed)
		}
	}
}

// sessionsTime is how long sessions come and go.
const sessionsTime = 2 * time.Minute

// outcomes counts how requests ended.
type outcomes struct {
	reads, waited, late, unavailable, writes, unwritten atomic.Int64
}

func (s *simulation) sessions(n int) {
	defer s.stop()
	s.storage = dbkernel.StorageOptions{Engine: dbkernel.EngineMemory}
	s.start()
	s.writers(1, 1, 10)
	for _, n := range s.nodes {
		if err := s.caughtUp(context.Background(), n, s.model.lastAcked()); err != nil {
			s.t.Fatal(err)
		}
	}
	var all sync.WaitGroup
	var count outcomes
	over := make(chan struct{})
	go func() {
		defer close(over)
		for i := range n {
			c := client{simulation: s, outcomes: &count, rand: s.newRand(), key: fmt.Sprint("session ", i)}
			all.Go(c.hops)
			time.Sleep(sessionsTime / time.Duration(n))
		}
		all.Wait()
	}()
	s.disturb(over)
	s.heal()
	s.t.Logf("%d reads, %d of them waited; %d NOT_CAUGHT_UP, %d on nodes that were down; %d writes, %d that failed",
		count.reads.Load(), count.waited.Load(), count.late.Load(), count.unavailable.Load(), count.writes.Load(), count.unwritten.Load())
	// How many of those who waited got their answer depends on how goroutines of one moment fall.
	if count.waited.Load() == 0 || count.late.Load() < int64(n)/1000 {
		s.t.Error("hardly anybody had to wait: nothing was tried")
	}
	s.converge()
}

// disturb breaks links and processes until the sessions are over.
func (s *simulation) disturb(over <-chan struct{}) {
	steps := []func(){s.cut, s.block, s.block, s.block, s.stall, s.unblock, s.cleanRestart, s.powerCut, s.pause}
	for {
		steps[s.n(len(steps))]()
		select {
		case <-over:
			return
		case <-time.After(time.Duration(s.n(1500)) * time.Millisecond):
		}
	}
}

// client is a session.
type client struct {
	*simulation
	*outcomes
	rand *rand.Rand
	key  string

	highest          dbkernel.Position // that it has seen
	wrote, attempted int               // the last value that was acknowledged, and that was tried
	saw              int
}

func (c *client) hops() {
	for range 3 + c.rand.IntN(3) {
		c.hop()
		if c.rand.IntN(2) == 0 { // otherwise at once, ahead of the record
			time.Sleep(time.Duration(c.rand.IntN(1000)) * time.Millisecond)
		}
	}
}

func (c *client) hop() {
	if c.rand.IntN(10) < 4 {
		c.write()
		return
	}
	c.read(c.nodes[c.rand.IntN(len(c.nodes))], time.Duration(c.rand.IntN(3000))*time.Millisecond)
}

func (c *client) write() {
	c.attempted++
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	pos, ok := c.simulation.write(ctx, simWrite{simCell{"k", c.key, ""}: strconv.Itoa(c.attempted)})
	if !ok {
		c.unwritten.Add(1)
		return
	}
	c.writes.Add(1)
	c.wrote = c.attempted
	if pos.LSN <= c.highest.LSN {
		c.t.Errorf("%s: a write at %v, after %v was seen", c.key, pos, c.highest)
	}
	c.highest = pos
}

// read reads the session's key anywhere, and checks what it sees.
func (c *client) read(n *simNode, wait time.Duration) {
	life, began := n.current(), time.Now()
	value, pos, err := read(n, c.key, c.highest, wait)
	took := time.Since(began)
	switch {
	case n.current() != life || life == 0 || gone(err) || errors.Is(err, dbkernel.ErrNamespaceNotFound):
		c.unavailable.Add(1)
		return
	case errors.Is(err, dbkernel.ErrNotCaughtUp):
		c.late.Add(1)
		if took < wait || took > wait+100*time.Millisecond {
			c.t.Errorf("%s: NOT_CAUGHT_UP after %v of %v", c.key, took, wait)
		}
		return
	case err != nil:
		c.t.Errorf("%s: at %s: %v", c.key, n.id, err)
		return
	}
	c.reads.Add(1)
	if pos.LSN < c.highest.LSN || pos.Epoch < c.highest.Epoch || pos.Lineage != lineage {
		c.t.Errorf("%s: %s answers from %v, %v was asked for", c.key, n.id, pos, c.highest)
	}
	if value < c.wrote || value < c.saw || value > c.attempted {
		c.t.Errorf("%s: %s answers value %d at %v; written were %d and perhaps %d, seen was %d at %v",
			c.key, n.id, value, pos, c.wrote, c.attempted, c.saw, c.highest)
	}
	if since := n.since(c.highest.LSN); took > 0 && !since.IsZero() {
		c.waited.Add(1)
		if late := time.Since(since); since.After(began) && late > 10*time.Millisecond {
			c.t.Errorf("%s: %s showed %v, and a request that waited for it was answered %v later", c.key, n.id, c.highest, late)
		}
	}
	c.saw, c.highest = value, pos
}

// read answers a request as the HTTP door does: it finds the namespace, waits
// for the position that the request carries, and reads one view. A handle that was
// superseded is looked up once more.
func read(n *simNode, key string, atLeast dbkernel.Position, wait time.Duration) (value int, pos dbkernel.Position, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	for range 2 {
		value, pos, err = readOnce(ctx, n, key, atLeast)
		if !errors.Is(err, dbkernel.ErrSuperseded) {
			break
		}
	}
	return value, pos, err
}

func readOnce(ctx context.Context, n *simNode, key string, atLeast dbkernel.Position) (value int, pos dbkernel.Position, err error) {
	log := n.namespace()
	if log == nil {
		return 0, pos, dbkernel.ErrNamespaceNotFound
	}
	if !atLeast.Lineage.IsZero() {
		if err := log.WaitFor(ctx, atLeast); err != nil {
			return 0, pos, err
		}
	}
	v, err := log.View()
	if err != nil {
		return 0, pos, err
	}
	defer v.Close()
	got, err := v.Get([]byte(key))
	switch {
	case errors.Is(err, dbkernel.ErrNotFound):
		return 0, v.Position(), nil
	case err != nil:
		return 0, pos, err
	}
	value, err = strconv.Atoi(string(got.Data))
	return value, v.Position(), err
}
