package replicator

import (
	"testing"
	"time"
)

// lagTest has two clocks that have nothing to do with each other.
type lagTest struct {
	lag
	local, source time.Time
}

func newLagTest() *lagTest {
	l := &lagTest{local: time.Unix(5_000, 0), source: time.Unix(9_000_000, 0)}
	l.now = func() time.Time { return l.local }
	l.begin(time.Second)
	return l
}

func (l *lagTest) pass(d time.Duration) { l.local, l.source = l.local.Add(d), l.source.Add(d) }

func (l *lagTest) beat(commit, backlog uint64) {
	l.heartbeat(beat{source: l.source, commit: commit}, backlog)
}

func (l *lagTest) want(t *testing.T, records, bytes uint64, behind time.Duration) {
	t.Helper()
	if got := l.status(); got != (LagStatus{Known: true, Records: records, Bytes: bytes, Behind: behind}) {
		t.Errorf("%+v, want %d records, %d bytes, %v", got, records, bytes, behind)
	}
}

func TestLagOfAStream(t *testing.T) {
	l := newLagTest()
	if l.status().Known {
		t.Error("known before a heartbeat")
	}
	l.beat(10, 1000)
	l.want(t, 10, 1000, 0)
	l.pass(2 * time.Second)
	l.received(400, 400, 10)
	l.want(t, 10, 1000, 2*time.Second) // 600 unsent, 400 held
	l.reached(4, 400)
	l.want(t, 6, 600, 2*time.Second)
	l.beat(20, 1500)
	l.pass(3 * time.Second)
	l.reached(10, 0) // that is what the source had at the first heartbeat
	l.want(t, 10, 1500, 5*time.Second)
	l.reached(20, 0)
	l.pass(time.Second)
	l.want(t, 0, 0, 4*time.Second) // its last word is four seconds old
	l.beat(20, 0)
	l.want(t, 0, 0, 0)
	l.end()
	l.pass(time.Minute)
	l.want(t, 0, 0, time.Minute)
}

func TestLagAcrossSources(t *testing.T) {
	l := newLagTest()
	l.beat(10, 0)
	l.reached(10, 0)
	l.end()
	l.pass(time.Minute)
	l.source = l.source.Add(-48 * time.Hour) // another source with another clock
	l.begin(time.Second)
	l.want(t, 0, 0, time.Minute)
	l.beat(50, 100)
	l.want(t, 40, 100, time.Minute)
	l.reached(50, 0)
	l.want(t, 0, 0, 0)
}

// TestLagOfASteppingClock: what was fresh doesn't become stale because the source's
// clock was set.
func TestLagOfASteppingClock(t *testing.T) {
	for _, step := range []time.Duration{-time.Hour, time.Hour} {
		l := newLagTest()
		l.beat(10, 0)
		l.reached(10, 0)
		l.pass(time.Second)
		l.source = l.source.Add(step)
		l.beat(20, 0)
		l.pass(time.Second)
		l.want(t, 10, 0, 2*time.Second)
	}
}

func TestLagBoundsItsMemory(t *testing.T) {
	l := newLagTest()
	for i := range uint64(100_000) {
		l.pass(time.Second)
		l.beat(10+i, 0)
	}
	if len(l.marks) > maxMarks {
		t.Fatalf("%d marks", len(l.marks))
	}
	l.reached(50_000, 0)
	if got := l.status().Behind; got < 49_000*time.Second || got > 52_000*time.Second {
		t.Errorf("%v behind, want about 50,000 s", got)
	}
}
