package replicator

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// epochLog is a log that has reached an epoch, and nothing else.
type epochLog struct {
	Log
	mu sync.Mutex
	st dbkernel.Status
}

func (l *epochLog) Status() dbkernel.Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.st
}

func (l *epochLog) reach(epoch uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.st.Epoch = epoch
}

var ackLineage = dbkernel.Lineage{3}

func newEpochLog(epoch uint64) *epochLog {
	return &epochLog{st: dbkernel.Status{Lineage: ackLineage, Epoch: epoch}}
}

func ackPosition(epoch, lsn uint64) dbkernel.Position {
	return dbkernel.Position{Lineage: ackLineage, Epoch: epoch, LSN: lsn}
}

// joinAcks makes a follower that has all records up to durable.
func joinAcks(a *Acks, node string, log SourceLog, durable uint64) (f *follower, part func()) {
	f = &follower{namespace: "ns", nodeID: node, log: log, acks: a.enter("ns")}
	f.durable.Store(durable)
	f.acks.join(f)
	return f, func() {
		f.acks.part(f)
		a.leave("ns", f.acks)
	}
}

func (f *follower) ackTo(lsn uint64) { f.acknowledged(&dbv1.Ack{DurableLsn: lsn}) }

// TestWaitReplicated: a wait ends when as many different nodes as asked for have the
// record, in this history.
func TestWaitReplicated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a Acks
		log := newEpochLog(5)
		one, partOne := joinAcks(&a, "one", log, 3)
		again, partAgain := joinAcks(&a, "one", log, 3)
		two, partTwo := joinAcks(&a, "two", log, 3)
		type result struct {
			have int
			err  error
		}
		wait := func(at dbkernel.Position, n int) chan result {
			c := make(chan result, 1)
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				have, err := a.WaitReplicated(ctx, "ns", at, n)
				c <- result{have, err}
			}()
			synctest.Wait()
			return c
		}
		pending := func(c chan result, when string) {
			t.Helper()
			synctest.Wait()
			select {
			case r := <-c:
				t.Fatalf("%s: the wait is over: %+v", when, r)
			default:
			}
		}
		over := func(c chan result, have int, when string) {
			t.Helper()
			synctest.Wait()
			select {
			case r := <-c:
				if r.err != nil || r.have != have {
					t.Fatalf("%s: %+v", when, r)
				}
			default:
				t.Fatalf("%s: still waiting", when)
			}
		}
		over(wait(ackPosition(5, 9), 0), 0, "for nobody")
		over(wait(ackPosition(5, 3), 2), 2, "for what is there")

		c := wait(ackPosition(5, 9), 2)
		one.ackTo(8)
		pending(c, "one record too few")
		one.ackTo(9)
		again.ackTo(10)
		pending(c, "two streams of one node")
		partOne()
		partAgain()
		pending(c, "a node that has it and left")
		two.ackTo(9)
		over(c, 2, "two nodes")

		c = wait(ackPosition(5, 20), 1)
		two.ackTo(19)
		pending(c, "one record too few")
		partTwo()
		three, partThree := joinAcks(&a, "two", log, 25)
		over(c, 1, "it came back with more")

		c = wait(ackPosition(6, 22), 1)
		pending(c, "a stream of an older epoch")
		three.ackTo(30)
		pending(c, "a stream of an older epoch that goes on")
		log.reach(6)
		three.ackTo(31)
		over(c, 1, "the log has come to the epoch")

		replaced := newEpochLog(6)
		replaced.st.Lineage = dbkernel.Lineage{4}
		_, partFour := joinAcks(&a, "four", replaced, 1000)
		c = wait(ackPosition(7, 100), 1)
		pending(c, "another lineage")
		time.Sleep(2 * time.Hour)
		if r := <-c; !errors.Is(r.err, context.DeadlineExceeded) || r.have != 0 {
			t.Errorf("in vain: %+v", r)
		}
		partThree()
		partFour()
		if len(a.namespaces) != 0 {
			t.Errorf("%d namespaces are kept", len(a.namespaces))
		}
	})
}

// TestWaitReplicatedConcurrently: no acknowledgement is missed, however it falls
// together with the beginning of a wait.
func TestWaitReplicatedConcurrently(t *testing.T) {
	var a Acks
	log := newEpochLog(1)
	const nodes, records = 5, 2000
	var wg sync.WaitGroup
	for i := range nodes {
		f, part := joinAcks(&a, fmt.Sprint(i), log, 0)
		t.Cleanup(part)
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 1))
			for lsn := uint64(0); lsn < records; {
				lsn = min(records, lsn+1+r.Uint64N(5))
				f.ackTo(lsn)
			}
		})
	}
	for w := range 4 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			for lsn := uint64(1); lsn <= records; lsn += 7 {
				have, err := a.WaitReplicated(ctx, "ns", ackPosition(1, lsn), 1+w%nodes)
				if err != nil {
					t.Errorf("LSN %d: %d of %d: %v", lsn, have, 1+w%nodes, err)
					return
				}
			}
		})
	}
	wg.Wait()
}
