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
			{0, (1+laneRest)*read - laneSlack}, // it has been free since the beginning of time
			{laneSlack / 2, (1+laneRest)*read - laneSlack/2},
			{time.Hour, (1+laneRest)*read - laneSlack},
		} {
			if got := free(c.late); got != c.want {
				t.Errorf("a read that was %v late: free %v after it began, expected %v", c.late, got, c.want)
			}
		}
	})
}

// TestCatchingUpGivesWay: the log isn't read for somebody who is behind while a commit is under way, or a round
// of those who are live, but for no longer than laneSlack.
func TestCatchingUpGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const namespace = "default"
		s := NewSource(SourceOptions{NodeID: "hub"})
		defer s.Close()
		log := newScriptedLog()
		log.commit(1)
		f := &feed{log: log}
		s.feeds.byName = map[string]*feed{namespace: f}
		b := behind{sender: &sender{
			conversation: &conversation{Source: s}, log: log, follower: &follower{namespace: namespace}, sent: reach{next: 1}, beatDue: time.Now().Add(time.Hour),
		}}
		waited := func() time.Duration {
			began := time.Now()
			held, err := b.takeLane(t.Context())
			if err != nil || held == nil {
				t.Fatalf("no lane: %v", err)
			}
			b.lanes <- held
			return time.Since(began)
		}
		for _, c := range []struct {
			who        string
			begin, end func()
		}{
			{"commit", log.append, func() { log.commit(1) }},
			{"round", func() { f.telling.Store(true) }, func() { f.telling.Store(false) }},
		} {
			if d := waited(); d != 0 {
				t.Errorf("gave way for %v to no %s", d, c.who)
			}
			c.begin()
			if d := waited(); d < laneSlack || d > laneSlack+minRest {
				t.Errorf("gave way for %v to a %s that doesn't end, expected %v", d, c.who, laneSlack)
			}
			time.AfterFunc(laneSlack/2, c.end)
			if d := waited(); d < laneSlack/2 || d > laneSlack/2+minRest {
				t.Errorf("gave way for %v to a %s of %v", d, c.who, laneSlack/2)
			}
		}
	})
}
