package replicator

import (
	"testing"
	"time"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// lagTest has clocks that have nothing to do with each other: this node's, its
// source's, the owner's.
type lagTest struct {
	lag
	local, sourceClock, ownerClock time.Time
}

func newLagTest() *lagTest {
	l := &lagTest{local: time.Unix(5_000, 0), sourceClock: time.Unix(9_000_000, 0), ownerClock: time.Unix(700, 0)}
	l.now = func() time.Time { return l.local }
	l.begin(time.Second)
	return l
}

func (l *lagTest) pass(d time.Duration) {
	l.local, l.sourceClock, l.ownerClock = l.local.Add(d), l.sourceClock.Add(d), l.ownerClock.Add(d)
}

// beat is a heartbeat of a source that knows nothing of the owner.
func (l *lagTest) beat(commit, backlog uint64) {
	l.heartbeat(&dbv1.Heartbeat{SourceTimeUnixNano: l.sourceClock.UnixNano(), CommitLsn: commit, BacklogBytes: backlog})
}

// relayed is a heartbeat of a relayer that heard the owner a while ago.
func (l *lagTest) relayed(commit uint64, age time.Duration, ownerCommit, ownerBacklog uint64) {
	l.heartbeat(&dbv1.Heartbeat{
		SourceTimeUnixNano: l.sourceClock.UnixNano(), CommitLsn: commit, Hops: 1,
		OwnerTimeUnixNano: l.ownerClock.Add(-age).UnixNano(), OwnerCommitLsn: ownerCommit,
		OwnerAgeNano: int64(age), OwnerBacklogBytes: ownerBacklog,
	})
}

func (l *lagTest) want(t *testing.T, records, bytes uint64, behind time.Duration) {
	t.Helper()
	got := l.status()
	got.Owner = OwnerLag{}
	if got != (LagStatus{Known: true, Records: records, Bytes: bytes, Behind: behind}) {
		t.Errorf("%+v, want %d records, %d bytes, %v", got, records, bytes, behind)
	}
}

func (l *lagTest) wantOwner(t *testing.T, records, bytes uint64, behind time.Duration) {
	t.Helper()
	if got := l.status().Owner; got != (OwnerLag{Known: true, Records: records, Bytes: bytes, Behind: behind, Hops: 2}) {
		t.Errorf("%+v, want %d records, %d bytes, %v behind the owner", got, records, bytes, behind)
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
	if got := l.status().Owner; got.Known {
		t.Errorf("an owner that nobody spoke of: %+v", got)
	}
}

func TestLagAcrossSources(t *testing.T) {
	l := newLagTest()
	l.beat(10, 0)
	l.reached(10, 0)
	l.end()
	l.pass(time.Minute)
	l.sourceClock = l.sourceClock.Add(-48 * time.Hour) // another source with another clock
	l.begin(time.Second)
	l.want(t, 0, 0, time.Minute)
	l.beat(50, 100)
	l.want(t, 40, 100, time.Minute)
	l.reached(50, 0)
	l.want(t, 0, 0, 0)
}

// TestLagOfTheOwner: over two hops, while the first of them breaks.
func TestLagOfTheOwner(t *testing.T) {
	l := newLagTest()
	l.relayed(10, 0, 10, 0)
	l.reached(10, 0)
	l.wantOwner(t, 0, 0, 0)
	l.pass(time.Second)
	l.relayed(10, 200*time.Millisecond, 30, 5000) // the relayer itself lacks 20 records
	l.want(t, 0, 0, 0)
	l.wantOwner(t, 20, 5000, time.Second)
	l.pass(time.Second)
	l.relayed(30, 100*time.Millisecond, 40, 100)
	l.reached(30, 0)
	// It is where the owner was 1.2 s ago.
	l.wantOwner(t, 10, 100, 1200*time.Millisecond)
	l.reached(40, 0)
	l.wantOwner(t, 0, 0, 0)
	// The relayer hears nothing more of the owner, and says so.
	last := l.ownerClock.Add(-100 * time.Millisecond).UnixNano()
	for range 10 {
		l.pass(time.Second)
		l.heartbeat(&dbv1.Heartbeat{
			SourceTimeUnixNano: l.sourceClock.UnixNano(), CommitLsn: 40, Hops: 1,
			OwnerTimeUnixNano: last, OwnerCommitLsn: 40, OwnerAgeNano: l.ownerClock.UnixNano() - last,
		})
	}
	l.want(t, 0, 0, 0)
	l.wantOwner(t, 0, 0, 10100*time.Millisecond)
	if got := l.report(); got.Hops != 2 || got.Stamp != last || got.Age != 10100*time.Millisecond || got.CommitLSN != 40 {
		t.Errorf("passed on: %+v", got)
	}
}

// TestLagOfTheOwnerByAnotherWay: the owner's clock goes on at another source,
// whichever of the two hears it later.
func TestLagOfTheOwnerByAnotherWay(t *testing.T) {
	l := newLagTest()
	l.relayed(10, 0, 10, 0)
	l.reached(10, 0)
	l.pass(time.Second)
	l.relayed(10, 0, 20, 0)
	l.end()
	l.sourceClock = l.sourceClock.Add(3 * time.Hour)
	l.begin(time.Second)
	l.relayed(12, 5*time.Second, 8, 0) // an older word
	l.wantOwner(t, 10, 0, time.Second)
	l.pass(time.Second)
	l.relayed(20, 0, 20, 0)
	l.wantOwner(t, 10, 0, 2*time.Second)
	l.reached(20, 0)
	l.wantOwner(t, 0, 0, 0)
}

// TestLagOfASteppingClock: what was fresh doesn't become stale because a clock
// was set, and nothing becomes fresh by it.
func TestLagOfASteppingClock(t *testing.T) {
	for _, step := range []time.Duration{-time.Hour, -10 * time.Second, 10 * time.Second, time.Hour} {
		l := newLagTest()
		for range 100 {
			l.pass(time.Second)
			l.relayed(10, 0, 10, 0)
			l.reached(10, 0)
		}
		l.pass(time.Second)
		l.relayed(20, 0, 20, 0) // not reached
		l.pass(time.Second)
		l.sourceClock, l.ownerClock = l.sourceClock.Add(step), l.ownerClock.Add(step)
		l.relayed(30, 0, 30, 0)
		l.pass(time.Second)
		if got := l.status(); got.Behind != 3*time.Second || got.Owner.Behind != 3*time.Second {
			t.Errorf("clock set by %v: %+v", step, got)
		}
		l.reached(20, 0) // which the source had two seconds ago
		if got := l.status(); got.Behind < 2*time.Second || got.Behind > 12*time.Second || got.Owner.Behind != got.Behind {
			t.Errorf("clock set by %v: %+v at LSN 20", step, got)
		}
		l.reached(30, 0)
		l.pass(time.Second)
		l.relayed(31, 0, 31, 0)
		if got := l.status(); got.Behind < time.Second || got.Behind > 12*time.Second {
			t.Errorf("clock set by %v: %+v at LSN 30", step, got)
		}
		for range 61 { // a small step is forgotten within a minute
			l.pass(time.Second)
			l.relayed(31, 0, 31, 0)
		}
		l.reached(31, 0)
		l.pass(time.Second)
		l.relayed(40, 0, 40, 0)
		if got := l.status(); got.Behind != time.Second || got.Owner.Behind != time.Second {
			t.Errorf("clock set by %v: %+v a minute later", step, got)
		}
	}
}

// TestSteadyClock: what a source stamps heartbeats with isn't moved by setting its clock.
func TestSteadyClock(t *testing.T) {
	now := time.Now()
	c := newSteadyClock(func() time.Time { return now })
	first := c.stamp()
	now = now.Add(time.Second)
	if got := c.stamp() - first; first != c.start.UnixNano() || got != int64(time.Second) {
		t.Errorf("%d ns in a second, from %d on", got, first)
	}
}

func TestLagBoundsItsMemory(t *testing.T) {
	l := newLagTest()
	for i := range uint64(100_000) {
		l.pass(time.Second)
		l.beat(10+i, 0)
	}
	if n := len(l.source.marks); n > maxMarks {
		t.Fatalf("%d marks", n)
	}
	l.reached(50_000, 0)
	if got := l.status().Behind; got < 49_000*time.Second || got > 52_000*time.Second {
		t.Errorf("%v behind, want about 50,000 s", got)
	}
}
