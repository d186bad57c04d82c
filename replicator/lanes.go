package replicator

import (
	"runtime"
	"time"
)

// lanes are what those share who are behind: each read of the log takes one, and leaves it
// for a while before the next may begin. Reading is about a quarter of what catching up costs, here and at
// the other end. Without an end to it a few followers take all there is of a machine, and writers and
// those who are live wait for the processor: on two cores the live ones' p99 went from 2.5 to 15 ms.
type lanes chan *lane

// lane is held by one at a time.
type lane struct{ free time.Time } // when the next read may begin

const (
	// laneRest is how long a lane rests, in times of what the read took. Under load
	// reads take longer, and so do the rests.
	laneRest = 5
	// maxLaneRest is for logs on a slow disk: while one waits for that, the processor is free.
	maxLaneRest = 5 * time.Millisecond
	// laneSlack is how late a read may begin without the next one being later for it:
	// short sleeps take longer than they should. So long it also gives way to a commit, and to a round.
	laneSlack = 2 * time.Millisecond
)

// newLanes makes one for two processors.
func newLanes() lanes {
	l := make(lanes, max(1, runtime.GOMAXPROCS(0)/2))
	for range cap(l) {
		l <- &lane{}
	}
	return l
}

// leave gives a lane back after a read.
func (l lanes) leave(held *lane, began time.Time) {
	begin := held.free
	if earliest := began.Add(-laneSlack); begin.Before(earliest) {
		begin = earliest
	}
	took := time.Since(began)
	held.free = begin.Add(took + min(laneRest*took, maxLaneRest))
	l <- held
}
