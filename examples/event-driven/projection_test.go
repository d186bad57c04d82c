package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
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

func TestPlace(t *testing.T) {
	at := Place{Lineage: "a", Epoch: 2, LSN: 10, Index: 1}
	for _, one := range []struct {
		what  string
		p     Place
		after bool
	}{
		{"itself", at, false},
		{"the next of its record", Place{"a", 2, 10, 2}, true},
		{"the one before in its record", Place{"a", 2, 10, 0}, false},
		{"a later record", Place{"a", 2, 11, 0}, true},
		{"an earlier record", Place{"a", 2, 9, 5}, false},
		{"a later epoch that begins at a lower number", Place{"a", 3, 9, 0}, true},
		{"an earlier epoch", Place{"a", 1, 11, 0}, false},
		{"another lineage", Place{"b", 1, 1, 0}, true},
	} {
		if got := one.p.after(at); got != one.after {
			t.Errorf("%s: after = %v", one.what, got)
		}
	}
}

// TestDeliveries sends a history as a notifier may: in any requests, each key in order, and from any earlier
// place again. Each change counts once.
func TestDeliveries(t *testing.T) {
	r := seeded(t)
	for range 200 {
		var history []Event
		want := map[string]int{}
		for lsn := range 30 {
			for index := range 1 + r.IntN(3) {
				key := fmt.Sprint("k", r.IntN(5))
				want[key]++
				history = append(history, Event{Key: key, Operation: "put", Place: Place{"a", 1, uint64(lsn + 1), index}})
			}
		}
		p := newProjection()
		for from := 0; from < len(history); {
			to := min(from+1+r.IntN(10), len(history))
			var e Entry
			for _, event := range p.fresh(history[from:to]) {
				e.Events = append(e.Events, Handled{Key: event.Key, Place: event.Place, Order: &Order{Customer: "c", Cents: 1}})
			}
			p.apply(e)
			if from = to; r.IntN(3) == 0 {
				from = r.IntN(to + 1) // the answer was lost, or the hub restarted
			}
			if p.Changes > len(history) {
				break
			}
		}
		if !reflect.DeepEqual(p.Handled, want) || p.Changes != len(history) {
			t.Fatalf("%d changes %v were handled as %d, %v", len(history), want, p.Changes, p.Handled)
		}
	}
}

func TestSums(t *testing.T) {
	p := newProjection()
	place := Place{Lineage: "a", Epoch: 1}
	step := func(key string, o *Order, want map[string]int64) {
		t.Helper()
		place.LSN++
		p.apply(Entry{Events: []Handled{{Key: key, Place: place, Order: o}}})
		if !reflect.DeepEqual(p.Cents, want) {
			t.Fatalf("the sums are %v, want %v", p.Cents, want)
		}
	}
	step("x", &Order{"ann", 5}, map[string]int64{"ann": 5})
	step("y", &Order{"bob", 7}, map[string]int64{"ann": 5, "bob": 7})
	step("x", &Order{"bob", 1}, map[string]int64{"bob": 8})
	step("y", nil, map[string]int64{"bob": 1})
	step("z", nil, map[string]int64{"bob": 1})

	p.apply(Entry{Reset: true, Events: []Handled{{Key: "q", Order: &Order{"eve", 3}}}})
	if want := map[string]int64{"eve": 3}; !reflect.DeepEqual(p.Cents, want) || len(p.Last) != 0 || p.Changes != 5 {
		t.Errorf("after a reset: %+v", p)
	}
}
