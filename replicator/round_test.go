package replicator

import (
	"context"
	"sync"
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
	changed chan struct{}
}

func (l *scriptedLog) commit(lsn uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end = lsn
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *scriptedLog) state() (end uint64, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.end, l.changed
}

func (l *scriptedLog) Status() dbkernel.Status {
	end, _ := l.state()
	return dbkernel.Status{LSN: end, DurableLSN: end, CommitLSN: end}
}

func (l *scriptedLog) Marks() []dbkernel.Mark { return nil }

// scriptedReader reads it.
type scriptedReader struct {
	log  *scriptedLog
	next uint64
}

func (r *scriptedReader) Next(ctx context.Context, _ int) (run dbkernel.Run, err error) {
	end, changed := r.log.state()
	for end < r.next {
		select {
		case <-changed:
		case <-ctx.Done():
			return run, ctx.Err()
		}
		end, changed = r.log.state()
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

// TestReadDuringARound commits a record while many followers are being told of the one
// before: those who were told first have nothing to do by then, and are told again.
func TestReadDuringARound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const followers = 2 * lookAfter
		log := &scriptedLog{changed: make(chan struct{})}
		s := NewSource(SourceOptions{NodeID: "hub", Heartbeat: maxHeartbeat})
		ctx, cancel := context.WithCancel(t.Context())
		f := &feed{Source: s, log: log, reader: &scriptedReader{log: log, next: 1}, cancel: cancel, next: 1, live: make(map[*cursor]struct{})}
		var all sync.WaitGroup
		var got [followers]uint64
		for i := range got {
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
					got[i] = k.ends(reach{}).next - 1
					k.free()
				}
			})
		}
		all.Go(func() { f.run(ctx) })
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
		cancel()
		all.Wait()
		s.Close()
	})
}
