package main

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/unisondb/unisondb/sdk/notifier"
)

// laneGrain is how many events make it worth while to send in one lane more:
// fewer requests are better for everybody than a few milliseconds are.
const laneGrain = 64

// delivery brings one batch to the receiver. It splits it into lanes, which are
// sent at the same time: all events of a key are in one lane, one behind the other.
type delivery struct {
	endpoint *endpoint
	events   []notifier.Event
	encoded  [][]byte  // the events as they are sent
	deadline time.Time // after which nothing more is begun

	mu       sync.Mutex
	rejected map[int]notifier.Rejection
	stopped  bool   // the receiver can't be reached or is busy: nothing more is begun
	last     answer // that stopped it
}

// run sends what can be sent. A reset is a barrier: it goes alone, behind
// everything before it and in front of everything after it.
func (d *delivery) run(ctx context.Context) notifier.Result {
	for from := 0; from < len(d.events); {
		to := d.phase(from)
		d.runLanes(ctx, d.lanes(from, to))
		// On one side of the border there is a reset.
		if len(d.rejected) > 0 {
			d.reject(rangeOf(to, len(d.events)), notifier.Blocked, "an earlier event wasn't accepted")
			break
		}
		from = to
	}
	return d.result()
}

// phase ends where a reset begins or is over.
func (d *delivery) phase(from int) (to int) {
	to = from + 1
	for to < len(d.events) && d.events[from].Operation != notifier.Reset && d.events[to].Operation != notifier.Reset {
		to++
	}
	return to
}

func (d *delivery) runLanes(ctx context.Context, lanes [][]int) {
	var wg sync.WaitGroup
	for _, events := range lanes {
		wg.Go(func() {
			l := lane{delivery: d, blocked: map[string]bool{}}
			l.send(ctx, events)
		})
	}
	wg.Wait()
}

// lanes splits events by their keys: a key goes where least is to be sent at the
// time of its first event. Rows, values and objects of one key go together; what is
// put into a row and its end have one key.
func (d *delivery) lanes(from, to int) [][]int {
	grain := min(d.endpoint.maxEvents, laneGrain)
	lanes := make([][]int, min(d.endpoint.maxInFlight, (to-from+grain-1)/grain))
	laneOf := make(map[string]int, to-from)
	for i := from; i < to; i++ {
		key := string(d.events[i].Key)
		at, known := laneOf[key]
		if !known {
			at = shortest(lanes)
			laneOf[key] = at
		}
		lanes[at] = append(lanes[at], i)
	}
	return lanes
}

func shortest(lanes [][]int) (at int) {
	for i := range lanes {
		if len(lanes[i]) < len(lanes[at]) {
			at = i
		}
	}
	return at
}

// stop has all lanes begin nothing more.
func (d *delivery) stop(a answer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.stopped || a.retryAfter > d.last.retryAfter {
		d.last = a
	}
	d.stopped = true
}

func (d *delivery) isStopped() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stopped
}

func (d *delivery) reject(events []int, cause notifier.Cause, reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, i := range events {
		d.rejected[i] = notifier.Rejection{Event: i, Cause: cause, Reason: reason}
	}
}

func (d *delivery) result() notifier.Result {
	rejected := slices.SortedFunc(maps.Values(d.rejected), func(a, b notifier.Rejection) int { return cmp.Compare(a.Event, b.Event) })
	return notifier.Result{Rejected: rejected, RetryAfter: d.last.retryAfter}
}

func rangeOf(from, to int) []int {
	all := make([]int, 0, to-from)
	for i := from; i < to; i++ {
		all = append(all, i)
	}
	return all
}
