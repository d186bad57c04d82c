package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// seeded makes the test's random numbers: SEED repeats a run.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed, err := strconv.ParseUint(os.Getenv("SEED"), 10, 64)
	if err != nil {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// anyState makes states of few writers and low numbers, so that equal stamps and even equal stamps
// of one writer with other content are common.
func anyState(r *rand.Rand) State {
	s := State{Visits: Counter{}, Title: Register{}}
	for _, writer := range []string{"a", "b", "c"} {
		if r.IntN(3) > 0 {
			s.Visits[writer] = uint64(r.IntN(4))
		}
		if r.IntN(3) > 0 {
			s.Title[writer] = Entry{
				Value: strconv.Itoa(r.IntN(3)), Counter: uint64(r.IntN(3)), Writer: writer,
				Saw: map[string]uint64{"a": uint64(r.IntN(2))},
			}
		}
	}
	return s
}

func same(a, b State) bool { return fmt.Sprint(a.Visits, a.Title) == fmt.Sprint(b.Visits, b.Title) }

// TestMergeLaws holds the three laws that make the order, the grouping and the repetition of
// what arrives meaningless.
func TestMergeLaws(t *testing.T) {
	r := seeded(t)
	for range 3000 {
		a, b, c := anyState(r), anyState(r), anyState(r)
		if !same(a.Merge(b), b.Merge(a)) {
			t.Fatalf("merging isn't commutative:\n%v\n%v", a, b)
		}
		if !same(a.Merge(b).Merge(c), a.Merge(b.Merge(c))) {
			t.Fatalf("merging isn't associative:\n%v\n%v\n%v", a, b, c)
		}
		if !same(a.Merge(a), a) || !same(a.Merge(b).Merge(b), a.Merge(b)) {
			t.Fatalf("merging isn't idempotent:\n%v\n%v", a, b)
		}
		if !same(a.Merge(State{}), a) {
			t.Fatalf("nothing, merged, changes something:\n%v", a)
		}
	}
}

// TestMergeChangesNoOperand: a replica's state may be printed while another is made of it.
func TestMergeChangesNoOperand(t *testing.T) {
	r := seeded(t)
	for range 300 {
		a, b := anyState(r), anyState(r)
		before := fmt.Sprint(a, b)
		a.Merge(b)
		if after := fmt.Sprint(a, b); after != before {
			t.Fatalf("%s became %s", before, after)
		}
	}
}

// TestConvergence has writers change their own states, and hand whole states around in any
// order, some twice, some never until the end.
func TestConvergence(t *testing.T) {
	r := seeded(t)
	for range 30 {
		writers := []string{"a", "b", "c", "d"}
		states := make([]State, len(writers))
		counted := uint64(0)
		for range 60 {
			i := r.IntN(len(writers))
			name := writers[i]
			switch r.IntN(3) {
			case 0:
				counted++
				states[i] = states[i].Merge(State{Visits: Counter{name: states[i].Visits[name] + 1}})
			case 1:
				e := states[i].Title.Set(name, strconv.Itoa(r.IntN(100)))
				states[i] = states[i].Merge(State{Title: Register{name: e}})
				if winner, _ := states[i].Title.Winner(); fmt.Sprint(winner) != fmt.Sprint(e) {
					t.Fatalf("%s doesn't see what it wrote: %v", name, states[i])
				}
				if lost := states[i].Title.Lost(); len(lost) > 0 {
					t.Fatalf("%s knew all of %v, and %v is called concurrent", name, states[i], lost)
				}
			case 2:
				states[i] = states[i].Merge(states[r.IntN(len(states))])
			}
		}
		all := State{}
		for _, i := range r.Perm(len(states)) {
			all = all.Merge(states[i])
		}
		for _, i := range r.Perm(len(states)) {
			for _, j := range r.Perm(len(states)) {
				states[i] = states[i].Merge(states[j])
			}
			if !same(states[i], all) || states[i].String() != all.String() {
				t.Fatalf("%s ends with %v, others with %v", writers[i], states[i], all)
			}
		}
		if n := all.Visits.Value(); n != counted {
			t.Fatalf("counted %d times, the counter says %d", counted, n)
		}
	}
}

// TestRegisterTells when a value was lost to one that didn't know it.
func TestRegisterTells(t *testing.T) {
	var east, west Register
	east = Register{"east": east.Set("east", "one")}
	west = Register{"west": west.Set("west", "two")}
	both := east.Merge(west)
	winner, _ := both.Winner()
	if lost := both.Lost(); winner.Value != "two" || len(lost) != 1 || lost[0].Value != "one" {
		t.Errorf("of two concurrent entries %v wins and %v is lost", winner, lost)
	}
	both = both.Merge(Register{"east": both.Set("east", "three")})
	winner, _ = both.Winner()
	if lost := both.Lost(); winner.Value != "three" || len(lost) != 0 {
		t.Errorf("of an entry that knew the others %v wins and %v is lost", winner, lost)
	}
}

// TestSkewedClocks: an entry that was made on top of another wins, whatever the clocks of
// their machines say. There is no clock in it.
func TestSkewedClocks(t *testing.T) {
	r := Register{}
	for i := range 10 {
		name := []string{"z", "a"}[i%2]
		r = r.Merge(Register{name: r.Set(name, strconv.Itoa(i))})
		if winner, _ := r.Winner(); winner.Value != strconv.Itoa(i) || winner.Counter != uint64(i+1) {
			t.Fatalf("after %d writes, each on top of the one before, %v wins", i+1, winner)
		}
	}
}
