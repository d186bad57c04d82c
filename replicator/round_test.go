package replicator

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
)

// scriptedLog is a log whose records a test commits.
type scriptedLog struct {
	SourceLog // what a feed doesn't use

	mu      sync.Mutex
	end     uint64
	under   bool  // a commit is under way
	failed  error // of reading
	changed chan struct{}
}

func newScriptedLog() *scriptedLog { return &scriptedLog{changed: make(chan struct{})} }

func (l *scriptedLog) commit(lsn uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end, l.under = lsn, false
	close(l.changed)
	l.changed = make(chan struct{})
}

// append begins a commit.
func (l *scriptedLog) append() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.under = true
}

// fail has the log unreadable from its end on.
func (l *scriptedLog) fail(err error) {
	l.mu.Lock()
	l.failed = err
	end := l.end + 1
	l.mu.Unlock()
	l.commit(end)
}

func (l *scriptedLog) state() (end uint64, changed <-chan struct{}, failed error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.end, l.changed, l.failed
}

func (l *scriptedLog) Status() dbkernel.Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	st := dbkernel.Status{LSN: l.end, DurableLSN: l.end, CommitLSN: l.end}
	if l.under {
		st.LSN++
	}
	return st
}

func (l *scriptedLog) Marks() []dbkernel.Mark { return nil }

// scriptedReader reads it.
type scriptedReader struct {
	log  *scriptedLog
	next uint64
}

func (r *scriptedReader) Next(ctx context.Context, _ int) (run dbkernel.Run, err error) {
	if ctx.Err() != nil { // a reader may look at that first
		return run, ctx.Err()
	}
	end, changed, failed := r.log.state()
	for end < r.next {
		select {
		case <-changed:
		case <-ctx.Done():
			return run, ctx.Err()
		}
		end, changed, failed = r.log.state()
	}
	if failed != nil {
		return run, failed
	}
	run = dbkernel.Run{First: r.next, Last: end, Commit: end}
	for ; r.next <= end; r.next++ {
		record := testRecord(r.next, 50)
		run.Records, run.Bytes = append(run.Records, record), run.Bytes+len(record)
	}
	return run, nil
}

func (r *scriptedReader) Ack(uint64) {}
func (r *scriptedReader) Close()     {}

// scriptedFeed runs a feed of a scripted log for so many live followers, each of which hands what it
// takes to took.
func scriptedFeed(t *testing.T, log *scriptedLog, heartbeat time.Duration, followers int, took func(follower int, k catch)) (f *feed, end func()) {
	s := NewSource(SourceOptions{NodeID: "hub", Heartbeat: heartbeat})
	ctx, cancel := context.WithCancel(t.Context())
	f = &feed{Source: s, log: log, reader: &scriptedReader{log: log, next: 1}, cancel: cancel, ring: ring{next: 1}, live: make(map[*cursor]struct{})}
	var all sync.WaitGroup
	for i := range followers {
		c := f.join(1)
		all.Go(func() {
			for {
				k, err := c.take(1 << 20)
				if err != nil {
					return // the feed has ended
				}
				if k.empty() {
					<-c.wake
					continue
				}
				took(i, k)
				k.free()
			}
		})
	}
	all.Go(func() { f.run(ctx) })
	return f, func() {
		cancel()
		all.Wait()
		s.Close()
	}
}

// TestReadDuringARound commits a record while many followers are being told of the one
// before: those who were told first have nothing to do by then, and are told again.
func TestReadDuringARound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const followers = 2 * lookAfter
		log := newScriptedLog()
		var got [followers]uint64
		_, end := scriptedFeed(t, log, maxHeartbeat, followers, func(i int, k catch) { got[i] = k.ends(reach{}).next - 1 })
		synctest.Wait()
		log.commit(1)
		time.Sleep(lookAfter / 2 * turn)
		log.commit(2)
		time.Sleep(2 * longestRound)
		synctest.Wait()
		for i, lsn := range got {
			if lsn != 2 {
				t.Errorf("follower %d has come as far as LSN %d", i, lsn)
				break
			}
		}
		end()
	})
}

// TestHurriedDuringARound: somebody waits for followers while a round is under way in which a heartbeat has
// fallen due already. The round goes on without rests, and reads on; all are told.
func TestHurriedDuringARound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const followers = 1000
		log := newScriptedLog()
		var got [followers]uint64
		var beats [followers]int
		f, end := scriptedFeed(t, log, minHeartbeat, followers, func(i int, k catch) {
			got[i] = k.ends(reach{got[i] + 1, 0}).next - 1
			if k.beat != nil {
				beats[i]++
			}
		})
		synctest.Wait()
		log.commit(1)
		time.Sleep(longestRound / 2)
		log.commit(2)
		time.Sleep(2 * lookAfter * turn) // it has been read
		clear(beats[:])
		log.commit(3)
		f.ask(2)
		time.Sleep(longestRound)
		synctest.Wait()
		if f.ended() {
			t.Fatalf("the feed has ended: %v", f.err)
		}
		for i, lsn := range got {
			if lsn < 2 || beats[i] == 0 {
				t.Errorf("follower %d has come as far as LSN %d, with %d heartbeats", i, lsn, beats[i])
				break
			}
		}
		end()
	})
}

// TestFeedEndsDuringARound: where the log can't be read in the middle of a round all followers
// learn it, those who hadn't been told yet, too.
func TestFeedEndsDuringARound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newScriptedLog()
		var told atomic.Int32
		_, end := scriptedFeed(t, log, maxHeartbeat, 4*lookAfter, func(int, catch) { told.Add(1) })
		synctest.Wait()
		log.commit(1)
		time.Sleep(lookAfter / 2 * turn)
		if n := told.Load(); n == 0 || n > lookAfter {
			t.Errorf("%d followers were told before the log fails", n)
		}
		log.fail(dbkernel.ErrDamaged)
		time.Sleep(2 * longestRound)
		synctest.Wait()
		end() // would wait for ever for those who weren't told
	})
}

// TestHeartbeatsGoOnUnderLoad: with a thousand followers and records all the time rounds take
// longer than a part of the interval between heartbeats. Each follower gets as many all the same.
func TestHeartbeatsGoOnUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const followers, expected = 1000, 12
		log := newScriptedLog()
		began := time.Now()
		var last [followers]time.Time
		var longest [followers]time.Duration
		var beats [followers]int
		_, end := scriptedFeed(t, log, DefaultHeartbeat, followers, func(i int, k catch) {
			if k.beat == nil {
				return
			}
			if !last[i].IsZero() {
				longest[i] = max(longest[i], time.Since(last[i]))
			}
			last[i] = time.Now()
			beats[i]++
		})
		for lsn := uint64(1); time.Since(began) < expected*DefaultHeartbeat; lsn++ {
			log.commit(lsn)
			time.Sleep(10 * time.Millisecond)
		}
		synctest.Wait()
		for i, n := range beats {
			if n < expected-1 || longest[i] > DefaultHeartbeat+2*longestRound {
				t.Errorf("follower %d had %d heartbeats instead of %d, and was %v without one", i, n, expected, longest[i])
				break
			}
		}
		end()
	})
}

// TestRoundGivesWay: while a commit is under way followers aren't told, but for the first, and for no
// longer than a share of the round.
func TestRoundGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newScriptedLog()
		f := &feed{log: log}
		parked := make([]*cursor, 1000)
		for i := range parked {
			parked[i] = &cursor{feed: f, wake: make(chan struct{}, 1)}
		}
		round := func(parked []*cursor) time.Duration {
			began := time.Now()
			if err := f.round(t.Context(), parked, nil); err != nil {
				t.Error(err)
			}
			for i, c := range parked {
				select {
				case <-c.wake:
				default:
					t.Errorf("follower %d of %d wasn't told", i, len(parked))
				}
			}
			return time.Since(began)
		}
		log.append()
		if took := round(parked[:1]); took != 0 {
			t.Errorf("a lone follower was told after %v", took)
		}
		if took := round(parked); took > longestRound+longestRound/giveWayShare {
			t.Errorf("beside a commit that doesn't end a round took %v", took)
		}
		const most = 50 * time.Millisecond
		if gave := giveWay(t.Context(), f.committing, most); gave < most || gave > most+minRest {
			t.Errorf("gave way for %v instead of %v", gave, most)
		}
		time.AfterFunc(most/2, func() { log.commit(1) })
		if gave := giveWay(t.Context(), f.committing, most); gave < most/2 || gave > most/2+minRest {
			t.Errorf("gave way for %v to a commit of %v", gave, most/2)
		}
		if gave := giveWay(t.Context(), f.committing, most); gave != 0 {
			t.Errorf("gave way for %v to nothing", gave)
		}
	})
}

// TestBeatsDue: after a stall as many heartbeats have fallen due as the time would have had; one that
// was asked for is alone, and puts the next one off.
func TestBeatsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &feed{Source: NewSource(SourceOptions{NodeID: "hub"})}
		const every = DefaultHeartbeat
		at := time.Now()
		time.Sleep(3*every + every/2)
		if n, next := f.beatsDue(at); n != 4 || !next.Equal(at.Add(4*every)) {
			t.Errorf("%d heartbeats, the next one %v after the first was due", n, next.Sub(at))
		}
		if n, next := f.beatsDue(time.Now().Add(every / 2)); n != 1 || !next.Equal(time.Now().Add(every)) {
			t.Errorf("%d heartbeats, the next one %v after one that was asked for", n, time.Until(next))
		}
		f.Source.Close()
	})
}
