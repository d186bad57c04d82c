package replicator

import (
	"cmp"
	"context"
	"sync"

	"github.com/unisondb/unisondb/dbkernel"
)

// queue hands what arrived to the goroutine that appends it. It is bounded in
// bytes: a sink whose disk is slow stops reading from the stream, and the stream's
// flow control stops the source.
type queue struct {
	limit int

	mu      sync.Mutex
	pending intake
	err     error // why nothing more comes
	// ready and space each hold a token after a change that the other side may wait for.
	ready, space chan struct{}
}

// intake is what arrived, in order: an answer to the hello first, records or
// chunks, and the newest commit LSN.
type intake struct {
	answer  *answer
	records [][]byte
	chunks  []dbkernel.Chunk
	bytes   int    // of records and chunks
	last    uint64 // LSN of the last record; 0: none
	commit  uint64
	beat    bool            // a heartbeat was among it, which asks for an acknowledgement
	owner   string          // of the namespace, as the heartbeat has it; may be empty
	marks   []dbkernel.Mark // of the newest heartbeat
	end     *dbkernel.SnapshotEnd
	ready   bool // from this end: the stage can be installed
}

func (i *intake) empty() bool {
	return i.answer == nil && len(i.records) == 0 && len(i.chunks) == 0 && i.commit == 0 && !i.beat && i.end == nil && !i.ready
}

func (i *intake) add(more intake) {
	if more.answer != nil {
		i.answer = more.answer
	}
	i.records = append(i.records, more.records...)
	i.bytes += more.bytes
	i.last = max(i.last, more.last)
	i.commit = max(i.commit, more.commit)
	i.beat = i.beat || more.beat
	i.owner = cmp.Or(more.owner, i.owner)
	i.chunks = append(i.chunks, more.chunks...)
	if more.beat {
		i.marks = more.marks
	}
	i.end = cmp.Or(more.end, i.end)
	i.ready = i.ready || more.ready
}

func newQueue(limit int) *queue {
	return &queue{limit: limit, ready: make(chan struct{}, 1), space: make(chan struct{}, 1)}
}

// put adds what arrived. It waits while the queue is full, except that one
// item always fits, however large.
func (q *queue) put(ctx context.Context, item intake) error {
	for !q.tryPut(item) {
		select {
		case <-q.space:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func (q *queue) tryPut(item intake) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.pending.bytes > 0 && item.bytes > 0 && q.pending.bytes+item.bytes > q.limit {
		return false
	}
	q.pending.add(item)
	signal(q.ready)
	return true
}

// close says that nothing more comes, and why. What is queued is still taken.
func (q *queue) close(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err == nil {
		q.err = err
	}
	signal(q.ready)
}

// take waits for something and takes all that is queued. When that is nothing
// and the queue was closed, it returns the reason.
func (q *queue) take(ctx context.Context) (intake, error) {
	for {
		if item, ok, err := q.tryTake(); ok || err != nil {
			return item, err
		}
		select {
		case <-q.ready:
		case <-ctx.Done():
			return intake{}, context.Cause(ctx)
		}
	}
}

func (q *queue) tryTake() (item intake, ok bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	item, q.pending = q.pending, intake{}
	signal(q.space)
	if item.empty() {
		return intake{}, false, q.err
	}
	return item, true, nil
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
