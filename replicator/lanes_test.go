package replicator

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestLaneRests: a lane is free again once it has rested, and a read that began late for
// want of a shorter sleep makes up for it.
func TestLaneRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const read = time.Millisecond / 2
		l := make(lanes, 1)
		held := &lane{}
		free := func(late time.Duration) time.Duration {
			if late > 0 {
				held.free = time.Now()
				time.Sleep(late)
			}
			began := time.Now()
			time.Sleep(read)
			l.leave(held, began)
			return (<-l).free.Sub(began)
		}
		for _, c := range []struct{ late, want time.Duration }{
			{0, (4+laneRest)*read/4 - laneSlack}, // it has been free since the beginning of time
			{laneSlack / 2, (4+laneRest)*read/4 - laneSlack/2},
			{time.Hour, (4+laneRest)*read/4 - laneSlack},
		} {
			if got := free(c.late); got != c.want {
				t.Errorf("a read that was %v late: free %v after it began, expected %v", c.late, got, c.want)
			}
		}
	})
}
