package replicator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// copyQueueBytes bounds the chunks that have come and aren't stored yet: with those that
// are being stored, what a sink that is killed has to ask for again.
const copyQueueBytes = 1 << 20

// copying is one stream of a Sink that brings a snapshot. Two goroutines: one reads the
// stream into the queue, one stores all that is queued in one transaction.
type copying struct {
	*Sink
	stage  Stage
	ours   history
	stream SinkStream
	link   link
	queue  *queue
	stored bool // a chunk
}

func (s *Sink) newCopying(p plan, stream SinkStream, l link) *copying {
	return &copying{Sink: s, stage: p.stage, ours: p.history, stream: stream, link: l, queue: newQueue(copyQueueBytes)}
}

func (c *copying) run(ctx context.Context, cancel context.CancelCauseFunc) (bool, error) {
	if err := say(c.stream, c.hello(dbv1.Purpose_PURPOSE_SNAPSHOT, c.ours).proto()); err != nil {
		return false, streamFailed(ctx, err)
	}
	c.wg.Go(func() { c.receive(ctx, cancel) })
	for {
		item, err := c.queue.take(ctx)
		if err == nil {
			err = c.process(ctx, item)
		}
		if err != nil {
			err = streamFailed(ctx, err)
			return c.stored && !complaint(err) || errors.Is(err, errNextStream), err
		}
	}
}

// receive reads the stream into the queue until it ends.
func (c *copying) receive(ctx context.Context, cancel context.CancelCauseFunc) {
	z, err := newChunkDecoder()
	if err != nil {
		c.queue.close(fmt.Errorf("preparing decompression: %w", err))
		return
	}
	defer z.Close()

	var stuck stall
	in := copyDecoder{ours: c.ours, chunks: chunkReader{zstd: z}}
	c.queue.close(hear(ctx, cancel, c.stream, c.link, func(m *dbv1.SourceMessage) (time.Duration, error) {
		if err := stuck.noteCopy(m, time.Now()); err != nil {
			return 0, err
		}
		item, err := in.decode(m)
		if err == nil {
			err = c.queue.put(ctx, item)
		}
		if err != nil || item.answer == nil {
			return 0, err
		}
		return item.answer.snapshot.heartbeat, nil
	}))
}

// copyDecoder turns the messages of a snapshot into what the storing goroutine needs.
type copyDecoder struct {
	ours   history
	began  bool
	chunks chunkReader
}

func (d *copyDecoder) decode(m *dbv1.SourceMessage) (item intake, err error) {
	if !d.began {
		a, err := parseAnswer(m, d.ours)
		if err == nil && a.snapshot == nil {
			err = refuse(CodeInvalidMessage, "a snapshot was asked for, the source answers with records: upgrade it")
		}
		d.began = err == nil
		return intake{answer: &a}, err
	}
	switch body := m.GetBody().(type) {
	case *dbv1.SourceMessage_Chunk:
		c, done, err := d.chunks.add(body.Chunk)
		if err == nil && done {
			item.chunks, item.bytes = []dbkernel.Chunk{c.Chunk}, len(c.Cells)
		}
		return item, err
	case *dbv1.SourceMessage_SnapshotEnd:
		end, err := parseSnapshotEnd(body.SnapshotEnd)
		item.end = &end
		return item, err
	case *dbv1.SourceMessage_Heartbeat:
		item.beat, item.owner = true, clip(body.Heartbeat.GetOwner(), maxNodeIDLen)
		return item, nil
	case *dbv1.SourceMessage_Answer, *dbv1.SourceMessage_Offer:
		return item, refuse(CodeInvalidMessage, "the source says %T in the middle of a snapshot", body)
	default:
		return item, nil // of a later version
	}
}

// process does what the queue gave, in this order: begin, store, finish.
func (c *copying) process(ctx context.Context, item intake) error {
	if item.answer != nil {
		if err := c.rebase(item.answer.source, *item.answer.snapshot); err != nil {
			return err
		}
	}
	if item.beat {
		c.owned(item.owner)
	}
	if len(item.chunks) > 0 {
		if err := c.stage.Put(ctx, item.chunks); err != nil {
			return stageFailed(c.o.Namespace, err)
		}
		c.stored = true
		c.arrived(func(a *arrival) { a.chunks += len(item.chunks); a.bytes += uint64(item.bytes) })
		c.moves()
	}
	if item.end == nil {
		return nil
	}
	return c.finish(ctx, *item.end)
}

// rebase keeps those chunks that the source can complete, and asks for the rest.
func (c *copying) rebase(source string, a snapshotOffer) error {
	if err := c.stage.Rebase(a.source.epochs, completes(a.source, c.ours)); err != nil {
		return stageFailed(c.o.Namespace, err)
	}
	kept := c.stage.Chunks()
	w := want{missing: c.stage.Missing()}
	for i, k := range kept {
		if i == 0 || k.LSN < w.pin {
			w.pin = k.LSN
		}
	}
	c.copyingFrom(source)
	c.arrived(func(ar *arrival) { ar.begin(len(kept), a.estimate) })
	c.o.Logger.Info("a snapshot arrives", "namespace", c.o.Namespace, "source", source, "chunks_here", len(kept), "estimated_bytes", a.estimate)
	return say(c.stream, w.proto())
}

// finish begins the log behind the chunks, which the next stream brings.
func (c *copying) finish(ctx context.Context, end dbkernel.SnapshotEnd) error {
	if n := len(c.stage.Missing()); n > 0 {
		return fmt.Errorf("%w: %d more ranges of a snapshot", errNextStream, n)
	}
	if err := c.stage.Finish(ctx, end); err != nil {
		return stageFailed(c.o.Namespace, err)
	}
	c.arrived(func(a *arrival) { a.complete, a.target = true, end.LSN })
	c.o.Logger.Info("all chunks are here", "namespace", c.o.Namespace, "ready_at", end.LSN)
	return fmt.Errorf("%w: records behind the snapshot", errNextStream)
}

// moves notes that the streams bring something.
func (s *Sink) moves() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turns = 0
}

// copyingFrom notes that a source sends a snapshot.
func (s *Sink) copyingFrom(source string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Source, s.status.Connected = source, true
	s.status.Code, s.status.Reason = "", ""
}

// arrived changes what is known of the copy that arrives.
func (s *Sink) arrived(change func(*arrival)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.copy == nil {
		s.copy = &arrival{}
	}
	change(s.copy)
}

// arrival is how far a copy is that arrives. The sink's mutex guards it.
type arrival struct {
	chunks, resumed int
	bytes, estimate uint64
	complete        bool   // all chunks are here, or none are needed
	log, target     uint64 // how far its log is, and must be; 0: not known
}

// begin notes a stream that goes on with chunks that are here. How large those of an earlier
// process were isn't known.
func (a *arrival) begin(kept int, estimate uint64) {
	if kept > 0 {
		a.resumed++
	}
	if kept != a.chunks {
		a.bytes = uint64(kept) * snapshotChunkBytes
	}
	a.chunks, a.estimate, a.complete = kept, estimate, false
}

// SnapshotStatus is how far a copy of a namespace has arrived.
type SnapshotStatus struct {
	Bytes     uint64 // of cells that are here
	Estimated uint64 // of all cells, about; 0: not known
	Chunks    int
	Percent   float64 // of the cells, about
	// Resumed counts the streams that went on with chunks that were here.
	Resumed int
	// Complete says that the cells are here, and that the log behind them arrives:
	// up to LSN so far, and the copy is whole at Target (0: not known).
	Complete    bool
	LSN, Target uint64
}

func (a *arrival) status() *SnapshotStatus {
	st := &SnapshotStatus{
		Bytes: a.bytes, Estimated: a.estimate, Chunks: a.chunks, Resumed: a.resumed, Complete: a.complete, LSN: a.log, Target: a.target,
	}
	switch {
	case a.complete:
		st.Percent = 100
	case a.estimate > 0:
		st.Percent = min(99, 100*float64(a.bytes)/float64(a.estimate))
	}
	return st
}

// String says it in words.
func (s *SnapshotStatus) String() string {
	if !s.Complete {
		return fmt.Sprintf("a new copy is arriving: %.0f %% of about %d bytes", s.Percent, s.Estimated)
	}
	if s.Target == 0 {
		return fmt.Sprintf("a new copy is arriving: its log is at LSN %d", s.LSN)
	}
	return fmt.Sprintf("a new copy is arriving: its log is at LSN %d, and must come to %d", s.LSN, s.Target)
}
