package topology

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// seedsOf are the seeds that a test runs through: SEED's alone, or else the first of them, and as many as fit where
// DURATION asks for the long form.
func seedsOf(n int) []uint64 {
	if s, err := strconv.ParseUint(os.Getenv("SEED"), 10, 64); err == nil {
		return []uint64{s}
	}
	if d, err := time.ParseDuration(os.Getenv("DURATION")); err == nil {
		n = max(n, int(d.Seconds())*10)
	}
	seeds := make([]uint64, n)
	for i := range seeds {
		seeds[i] = uint64(i)
	}
	return seeds
}

// TestHashChain runs groups of three over a network that is cut in any direction, with hubs that crash, in virtual
// time. What the hubs had agreed on is read off their logs afterwards and applied again: each state that any of
// them ever had must lie on that chain, all of them must end at its end, and
// whatever was acknowledged must stand where it was said to.
func TestHashChain(t *testing.T) {
	var next sync.Mutex
	seeds := seedsOf(200)
	sum := struct{ acked, unknown, crashes, installed, entries int }{}
	t.Run("seeds", func(t *testing.T) {
		for range runtime.GOMAXPROCS(0) {
			t.Run("worker", func(t *testing.T) {
				t.Parallel()
				for {
					next.Lock()
					if len(seeds) == 0 {
						next.Unlock()
						return
					}
					seed := seeds[0]
					seeds = seeds[1:]
					next.Unlock()
					synctest.Test(t, func(t *testing.T) {
						s := newStorm(t, seed)
						s.run()
						next.Lock()
						defer next.Unlock()
						sum.acked += len(s.acked)
						sum.unknown += s.unknown
						sum.crashes += s.crashes
						sum.installed += s.installed
						sum.entries += len(s.archive.entries)
					})
					if t.Failed() {
						t.Fatalf("seed %d: SEED=%d go test -run TestHashChain ./server/topology", seed, seed)
					}
				}
			})
		}
	})
	t.Logf("%+v", sum)
	if os.Getenv("SEED") == "" && (sum.acked == 0 || sum.crashes == 0 || sum.installed == 0 || sum.unknown == 0) {
		t.Errorf("something of what is to be tested never happened: %+v", sum)
	}
}

// storm is one run.
type storm struct {
	t       *testing.T
	seed    uint64
	w       *weather
	archive *archive
	hubs    []*virtualHub
	ends    sync.WaitGroup

	mu        sync.Mutex // over what follows
	seen      map[uint64]Hash
	acked     []acknowledged
	newest    uint64 // index that was acknowledged
	unknown   int
	crashes   int
	installed int // states that a hub took over without all that came before
}

type acknowledged struct {
	index uint64
	entry []byte
	code  string // of the refusal
}

func newStorm(t *testing.T, seed uint64) *storm {
	s := &storm{t: t, seed: seed, w: newWeather(seed), archive: newArchive(), seen: map[uint64]Hash{}}
	for _, id := range []string{"a", "b", "far"} {
		var join []string
		if id != "a" {
			join = []string{grpcAddress("a"), grpcAddress("b")}
		}
		s.hubs = append(s.hubs, newVirtualHub(t, s.w, s.archive, id, join...))
	}
	return s
}

func (s *storm) run() {
	for _, h := range s.hubs {
		s.start(h)
	}
	defer func() {
		for _, h := range s.hubs {
			h.crash(s.t)
		}
		s.ends.Wait()
	}()
	s.until("three hubs have a vote", func() bool {
		for _, h := range s.hubs {
			if h.Group.voters() != len(s.hubs) || len(h.State().Hubs) != len(s.hubs) {
				return false
			}
		}
		return true
	})
	ctx, stop := context.WithCancel(s.t.Context())
	var clients sync.WaitGroup
	for i := range s.hubs {
		clients.Go(func() { s.client(ctx, i) })
	}
	s.nemesis()
	stop()
	clients.Wait()
	s.settle()
	s.check()
}

func (s *storm) start(h *virtualHub) {
	h.start(s.t)
	g := h.Group
	s.ends.Go(func() { s.observe(g) })
}

// until waits, in virtual time, until a condition holds.
func (s *storm) until(what string, holds func() bool) {
	s.t.Helper()
	for range 6000 {
		if holds() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	for _, h := range s.hubs {
		if h.Group != nil {
			s.t.Errorf("seed %d: hub %s: index %d, %+v, raft %s", s.seed, h.o.NodeID, h.State().Index, h.Freshness(), h.raft.Stats())
		}
	}
	s.t.Fatalf("seed %d: it doesn't come to pass that %s", s.seed, what)
}

// observe notes each state that a hub has while it runs.
func (s *storm) observe(g *Group) {
	last := uint64(0)
	for {
		state, err := g.Watch(context.Background(), last)
		if err != nil {
			return
		}
		s.mu.Lock()
		if chain, ok := s.seen[state.Index]; ok && chain != state.Chain {
			s.t.Errorf("seed %d: hub %s is elsewhere than another at index %d", s.seed, g.o.NodeID, state.Index)
		}
		s.seen[state.Index] = state.Chain
		if last > 0 && state.Index > last+8 {
			s.installed++
		}
		s.mu.Unlock()
		last = state.Index
	}
}

// running is a hub's group; nil: it is down.
func (s *storm) running(i int) *Group {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hubs[i].Group
}

// client proposes changes at one hub, reads there, and now and then saves the state or restores
// one that was saved.
func (s *storm) client(ctx context.Context, i int) {
	g := newGenerator(s.seed*10 + uint64(i))
	g.made = i * 1000 // a lineage is used once
	var saved bytes.Buffer
	for ctx.Err() == nil {
		time.Sleep(time.Duration(20+g.IntN(200)) * time.Millisecond)
		hub := s.running(i)
		if hub == nil {
			continue
		}
		call, cancel := context.WithTimeout(ctx, 4*time.Second)
		switch g.IntN(12) {
		case 0:
			s.read(call, hub)
		case 1:
			if saved.Len() == 0 && hub.SaveSnapshot(call, &saved) != nil {
				saved.Reset()
			}
		case 2:
			if saved.Len() > 0 {
				s.propose(call, hub, Restore{Snapshot: bytes.Clone(saved.Bytes())})
				saved.Reset()
			}
		default:
			s.propose(call, hub, g.change(hub.State()))
		}
		cancel()
	}
}

// change is a command that leaves the hubs alone, of which the group itself takes care.
func (g *generator) change(s *State) Command {
	for {
		switch c := g.command(s).(type) {
		case SetHub, RemoveHub:
		default:
			return c
		}
	}
}

func (s *storm) propose(ctx context.Context, g *Group, c Command) {
	entry, err := Encode(c)
	if err != nil {
		s.t.Error(err)
		return
	}
	index, err := g.Propose(ctx, c)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil, CodeOf(err) != "" && index > 0:
		s.acked = append(s.acked, acknowledged{index, entry, CodeOf(err)})
		s.newest = max(s.newest, index)
	case errors.Is(err, ErrOutcomeUnknown):
		s.unknown++
	}
}

// read checks that a state is as new as the call.
func (s *storm) read(ctx context.Context, g *Group) {
	s.mu.Lock()
	least := s.newest
	s.mu.Unlock()
	if state, err := g.Sync(ctx); err == nil && state.Index < least {
		s.t.Errorf("seed %d: hub %s read index %d after %d was acknowledged", s.seed, g.o.NodeID, state.Index, least)
	}
}

// nemesis cuts the network and kills hubs, at most one at a time.
func (s *storm) nemesis() {
	r := newGenerator(s.seed + 1<<32)
	for range 8 {
		time.Sleep(time.Duration(300+r.IntN(1500)) * time.Millisecond)
		a, b := s.hubs[r.IntN(3)], s.hubs[r.IntN(3)]
		switch r.IntN(6) {
		case 0:
			s.w.sever(a.o.NodeID, b.o.NodeID)
		case 1:
			s.w.sever(a.o.NodeID, b.o.NodeID)
			s.w.sever(b.o.NodeID, a.o.NodeID)
		case 2:
			a = s.leader(a)
			for _, h := range s.hubs {
				s.w.sever(a.o.NodeID, h.o.NodeID)
				s.w.sever(h.o.NodeID, a.o.NodeID)
			}
		case 3:
			s.w.heal()
		case 4:
			s.bounce(s.leader(a), time.Duration(r.IntN(3000))*time.Millisecond)
		case 5:
			s.bounce(a, time.Duration(r.IntN(3000))*time.Millisecond)
		}
	}
}

// leader is the hub that leads, or else another one.
func (s *storm) leader(other *virtualHub) *virtualHub {
	for _, h := range s.hubs {
		if h.Group != nil && h.term.Load() != nil {
			return h
		}
	}
	return other
}

// bounce kills a hub and starts it again after a while.
func (s *storm) bounce(h *virtualHub, after time.Duration) {
	s.mu.Lock()
	g := h.Group
	h.Group = nil
	s.crashes++
	s.mu.Unlock()
	dead := *h
	dead.Group = g
	dead.crash(s.t)
	time.Sleep(after)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.start(h)
}

// settle mends everything and waits until all hubs are at the same index.
func (s *storm) settle() {
	s.w.heal()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	for {
		c := CreateNamespace{Name: "the-end", Lineage: lin(77), Owner: hubNode("a"), Created: day, Replace: true}
		if _, err := s.hubs[1].Propose(ctx, c); err == nil || CodeOf(err) == CodeLineageTaken {
			break
		} else if ctx.Err() != nil {
			s.t.Fatalf("seed %d: the group doesn't come back: %v", s.seed, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.until("all hubs are at the same index", func() bool {
		for _, h := range s.hubs {
			if h.State().Index != s.hubs[0].State().Index || h.State().Namespaces["the-end"] == nil {
				return false
			}
		}
		return true
	})
}

// check applies all that was agreed on once more.
func (s *storm) check() {
	end := s.hubs[0].State().Index
	leader := s.leader(s.hubs[0])
	entries := s.archive.upTo(leader.log.last(leader.raft.LastIndex()))
	chain := map[uint64]Hash{}
	refusals := map[uint64]string{}
	state := NewState()
	for index := uint64(1); index <= end; index++ {
		l, ok := entries[index]
		if !ok {
			s.t.Fatalf("seed %d: nobody ever had entry %d of %d", s.seed, index, end)
		}
		if l.Type != raft.LogCommand {
			continue
		}
		next, refused, err := state.applyEntry(index, l.Data)
		if err != nil {
			s.t.Fatal(err)
		}
		if refused != nil {
			refusals[index] = refused.Code
		}
		state = next
		chain[index] = state.Chain
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for index, h := range s.seen {
		if index > 0 && index <= end && chain[index] != h {
			s.t.Errorf("seed %d: a hub had a state at index %d that isn't on the chain", s.seed, index)
		}
	}
	for _, a := range s.acked {
		if l := entries[a.index]; !bytes.Equal(l.Data, a.entry) || refusals[a.index] != a.code {
			s.t.Errorf("seed %d: what was acknowledged at index %d is lost: %s (%q), and there is %s (%q)", s.seed, a.index, a.entry, a.code, l.Data, refusals[a.index])
		}
	}
	want := sumOf(s.t, state)
	for _, h := range s.hubs {
		if sumOf(s.t, h.State()) != want {
			s.t.Errorf("seed %d: hub %s ended elsewhere: %s", s.seed, h.o.NodeID, sameState(state, h.State()))
		}
	}
	checkInvariants(s.t, state)
	if !slices.IsSorted([]uint64{s.newest, end}) {
		s.t.Error(fmt.Sprint("index ", s.newest, " was acknowledged, and the end is ", end))
	}
}
