package replicator_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
)

var (
	invariantsSeed  = flag.Uint64("invariants.seed", 0, "first seed of TestInvariants")
	invariantsSeeds = flag.Int("invariants.seeds", 200, "number of seeds of TestInvariants")
)

// TestInvariants: seeded schedules of cuts, delays, reorders, duplicates, restarts,
// trims and power cuts over an owner, two relayers and two relayers of relayers. At each LSN
// that is compared a replica's state is the owner's, its records are the same bytes without
// a gap, nobody is ahead of what the owner has synced, what was acknowledged is there
// after a power cut, and in the end everybody has everything.
func TestInvariants(t *testing.T) {
	first, enough := seeds(t, *invariantsSeed, *invariantsSeeds)
	var mu sync.Mutex
	next := first
	var installs int64
	take := func() (uint64, bool) {
		mu.Lock()
		defer mu.Unlock()
		if enough(next-first) || t.Failed() {
			return 0, false
		}
		next++
		return next - 1, true
	}
	t.Run("schedules", func(t *testing.T) {
		for range 2 {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				for seed, ok := take(); ok; seed, ok = take() {
					if !t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) {
							n := newSimulation(t, seed).schedule()
							mu.Lock()
							defer mu.Unlock()
							installs += n
						})
					}) {
						t.Fatalf("again: go test ./replicator -run TestInvariants -invariants.seed=%d -invariants.seeds=1", seed)
					}
				}
			})
		}
	})
	t.Logf("%d schedules from seed %d on, %d copies installed", next-first, first, installs)
	if next-first >= 100 && installs < 4*int64(next-first) {
		t.Errorf("%d copies in %d schedules: nothing beyond the first of each node was tried", installs, next-first)
	}
}

// schedule runs what the seed says, and tells how many copies were installed.
func (s *simulation) schedule() int64 {
	defer s.stop()
	s.start()
	steps := []func(){
		s.burst, s.burst, s.burst, s.burst, s.heavy, s.flush, s.mark, s.cut, s.block, s.stall, s.unblock,
		s.mangle, s.cleanRestart, s.powerCut, s.powerCut, s.away, s.compare, s.pause,
	}
	for range 10 + s.n(10) {
		steps[s.n(len(steps))]()
		time.Sleep(time.Duration(s.n(300)) * time.Millisecond)
	}
	s.heal()
	s.converge()
	return s.installs.Load()
}

// burst has some writers write at once.
func (s *simulation) burst() { s.writers(1+s.n(6), 1+s.n(4), 2000) }

// heavy moves the log past who is away.
func (s *simulation) heavy() {
	s.writers(2, 10, 24<<10)
	s.flush()
	time.Sleep(10 * time.Second) // until the log is trimmed
}

func (s *simulation) writers(writers, each, size int) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				s.write(ctx, s.someWrite(size))
			}
		})
	}
	wg.Wait()
}

func (s *simulation) someWrite(size int) simWrite {
	w := simWrite{}
	if s.n(10) == 0 {
		w[simCell{"d", s.anyRow(), ""}] = ""
		return w
	}
	for range 1 + s.n(3) {
		value := strings.Repeat("x", s.n(size)) + fmt.Sprint(s.n(1e6))
		if s.n(5) == 0 {
			value = ""
		}
		if s.n(3) == 0 {
			w[simCell{"r", s.anyRow(), columnName(s.n(simColumns))}] = value
		} else {
			w[simCell{"k", fmt.Sprint("key ", s.n(60)), ""}] = value
		}
	}
	return w
}

func (s *simulation) anyRow() string { return fmt.Sprint("row ", s.n(5)) }

func (s *simulation) flush() {
	for _, n := range s.nodes {
		if n != s.owner && s.n(2) == 0 {
			continue
		}
		if log := n.namespace(); log != nil {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			if err := log.Flush(ctx); err != nil && !gone(err) && ctx.Err() == nil {
				s.t.Errorf("%s: flush: %v", n.id, err)
			}
			cancel()
		}
	}
}

func (s *simulation) mark() {
	log := s.owner.namespace()
	if log == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if _, err := log.WriteMark(ctx); err != nil && !gone(err) && ctx.Err() == nil {
		s.t.Errorf("mark: %v", err)
	}
}

func (s *simulation) cut() {
	if s.n(2) == 0 {
		s.network.Cut(s.anyNode().id)
	} else {
		s.network.CutBetween(s.anyLink())
	}
}

// anyLink is a source and one that follows it.
func (s *simulation) anyLink() (source, sink string) {
	n := s.anyReplica()
	return n.sources[s.n(len(n.sources))], n.id
}

// block breaks one way between two nodes, or both.
func (s *simulation) block() {
	a, b := s.anyLink()
	if s.n(3) == 0 {
		a, b = b, a
	}
	s.network.Block(a, b, true)
	if s.n(2) == 0 {
		s.network.Block(b, a, true)
	}
}

// stall stops a node's packets for a while.
func (s *simulation) stall() {
	id := s.anyNode().id
	s.network.Stall(id, true)
	time.Sleep(time.Duration(s.n(4000)) * time.Millisecond)
	s.network.Stall(id, false)
}

func (s *simulation) unblock() { s.network.Heal() }

// mangle has streams lose, repeat and reorder messages from here on, or no more.
func (s *simulation) mangle() { s.setEvil(s.n(2) * (3 + s.n(30))) }

func (s *simulation) cleanRestart() {
	n := s.anyNode()
	n.halt()
	time.Sleep(time.Duration(s.n(1000)) * time.Millisecond)
	n.start()
}

func (s *simulation) powerCut() {
	n := s.anyNode()
	for range s.n(6) {
		go s.write(context.Background(), s.someWrite(2000))
	}
	n.powerCut()
	time.Sleep(time.Duration(s.n(1500)) * time.Millisecond)
	n.restart()
}

// away has a replica miss so much that the log no longer has it.
func (s *simulation) away() {
	n := s.anyReplica()
	n.halt()
	for range 1 + s.n(2) {
		s.heavy()
	}
	n.start()
	s.trickle()
}

// trickle writes while copies are under way, and sometimes cuts them off.
func (s *simulation) trickle() {
	for range 10 + s.n(30) {
		s.writers(1, 1, 500)
		time.Sleep(time.Duration(s.n(10)) * time.Millisecond)
		if s.n(30) == 0 {
			s.cut()
		}
	}
}

func (s *simulation) pause() { time.Sleep(time.Duration(s.n(3000)) * time.Millisecond) }

func (s *simulation) compare() {
	for _, n := range s.nodes {
		n.check()
	}
}

// converge waits until everybody has everything, and compares it.
func (s *simulation) converge() {
	s.writers(1, 1, 100)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	// A node whose snapshot is of behind the mark has no digests of it: the next one compares.
	for range 3 {
		if s.comparedAtMark(ctx) {
			break
		}
	}
	s.checkAcked()
	s.compare()
}

// comparedAtMark compares the digests of all nodes at a new mark; false: somebody
// was past it.
func (s *simulation) comparedAtMark(ctx context.Context) bool {
	mark, err := s.owner.namespace().WriteMark(ctx)
	if err != nil {
		s.t.Fatalf("mark: %v", err)
	}
	var want [dbkernel.DigestRanges]uint64
	for _, n := range s.nodes {
		if err := s.caughtUp(ctx, n, mark); err != nil {
			s.t.Fatalf("%s doesn't catch up: %v: %s", n.id, err, n.progress())
		}
		log := n.namespace()
		if err := log.WaitMark(ctx, mark.LSN); errors.Is(err, dbkernel.ErrNotFound) {
			return false
		} else if err != nil {
			s.t.Fatalf("%s: mark LSN %d: %v", n.id, mark.LSN, err)
		}
		got, err := log.Digests(mark.LSN)
		if n == s.owner {
			want = got
		}
		if err != nil || got != want {
			s.t.Errorf("%s: other digests than the owner's at LSN %d: %v", n.id, mark.LSN, err)
		}
	}
	return true
}

// checkAcked looks for every acknowledged write in the owner's log.
func (s *simulation) checkAcked() {
	synctest.Wait() // the model has read all
	m := s.model
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range m.acked {
		if a.pos.LSN > uint64(len(m.records)) {
			s.t.Errorf("write %d was acknowledged at LSN %d, the owner has %d records", a.write, a.pos.LSN, len(m.records))
		}
	}
}

// caughtUp waits until a node has a position. Handles are superseded on the way.
func (s *simulation) caughtUp(ctx context.Context, n *simNode, pos dbkernel.Position) error {
	for {
		err := dbkernel.ErrNamespaceNotFound
		if log := n.namespace(); log != nil {
			err = log.WaitFor(ctx, pos)
		}
		if err == nil || ctx.Err() != nil || !errors.Is(err, dbkernel.ErrNamespaceNotFound) && !errors.Is(err, dbkernel.ErrSuperseded) {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (n *simNode) progress() string {
	if n.upstream == nil {
		return ""
	}
	return fmt.Sprintf("%+v", n.upstream.Status())
}
