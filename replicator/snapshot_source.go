package replicator

import (
	"context"
	"errors"
	"time"

	"golang.org/x/time/rate"

	"github.com/unisondb/unisondb/dbkernel"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// NewSnapshotRate bounds what all snapshots and repairs of a node send together, in bytes
// a second. 0 or less: no bound, nil.
func NewSnapshotRate(bytesPerSecond int64) *rate.Limiter {
	if bytesPerSecond <= 0 {
		return nil
	}
	// A tenth of a second at once, so that it doesn't come in bursts; but no part
	// of a chunk may be larger.
	burst := min(max(bytesPerSecond/10, 4*minPartBytes), maxPartBytes)
	return rate.NewLimiter(rate.Limit(bytesPerSecond), int(burst))
}

// sendSnapshot answers a hello for a snapshot and sends the chunks that the sink wants.
// The log is pinned from the first record that the sink may need, before it is told
// which that is.
func (c *conversation) sendSnapshot(ctx context.Context, h hello, log Log, source extent) error {
	v := decideSnapshot(source, h.history)
	if v.refused != nil {
		return c.refuse(h, v.refused)
	}
	source.first = v.snapshotFrom.first
	_, source.snapshotBytes = log.SnapshotCost()
	pin, err := log.Tail(c.pinName("snapshot", h), source.first)
	if err != nil {
		return c.refuse(h, openFailed(h.namespace, err))
	}
	c.dropKept(h)
	defer func() { c.keep(h, pin) }()
	if err := c.stream.Send(answerMessage(c.o.NodeID, h, source, v, c.o.Heartbeat)); err != nil {
		return err
	}
	w, err := c.awaitWant(ctx)
	if err != nil {
		return err
	}
	if w.pin == 0 {
		w.pin = log.Status().CommitLSN // every chunk will be at this record or behind it
	}
	pin.Ack(w.pin)
	return streamEnd(ctx, h.namespace, c.sendWanted(ctx, h, log, w))
}

func (c *conversation) awaitWant(ctx context.Context) (want, error) {
	timeout := time.NewTimer(helloTimeout)
	defer timeout.Stop()
	select {
	case w := <-c.want:
		return w, nil
	case <-timeout.C:
		return want{}, refuseForNow(CodeInvalidMessage, "the follower didn't say within %v what it wants of the snapshot", helloTimeout)
	case <-ctx.Done():
		return want{}, context.Cause(ctx)
	}
}

// sendWanted sends the chunks and what completes them, and then keeps the stream,
// and with it the pin, until the sink has what it needs and leaves.
func (c *conversation) sendWanted(ctx context.Context, h hello, log Log, w want) error {
	f := &follower{namespace: h.namespace, nodeID: h.nodeID, since: c.o.Clock(), snapshot: true}
	c.registerSnapshot(f)
	defer c.unregisterSnapshot(f)
	s := c.chunkSender(h, log, f)
	if err := s.send(ctx, wantedChunks(log, w.missing)); err != nil {
		return err
	}
	end, err := log.SnapshotEnd(ctx)
	if err != nil {
		return &readError{err}
	}
	c.o.Logger.Info("snapshot sent", "namespace", h.namespace, "node", h.nodeID, "bytes", f.sentBytes.Load(), "lsn", end.LSN)
	if err := c.stream.Send(snapshotEndToProto(end)); err != nil {
		return err
	}
	return s.idle(ctx)
}

func (s *Source) registerSnapshot(f *follower) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.followers[f] = struct{}{}
}

func (s *Source) unregisterSnapshot(f *follower) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.followers, f)
}

// nextChunk reads the chunk that is sent next; ok is false behind the last one.
type nextChunk func(ctx context.Context) (c sentChunk, ok bool, err error)

// wantedChunks reads what a sink lacks, in key order.
func wantedChunks(log SourceLog, missing []dbkernel.KeyRange) nextChunk {
	return func(ctx context.Context) (c sentChunk, ok bool, err error) {
		if len(missing) == 0 {
			return c, false, nil
		}
		r := missing[0]
		if c.Chunk, err = log.ReadChunk(ctx, r, snapshotChunkBytes); err != nil {
			return c, false, err
		}
		if string(c.End) == string(r.End) {
			missing = missing[1:]
		} else {
			missing[0].Start = c.End
		}
		return c, true, nil
	}
}

// chunkSender sends chunks under the node's rate, and a heartbeat in regular intervals
// however long reading or waiting takes. One chunk is read while another is sent:
// that is all the memory it takes.
type chunkSender struct {
	*conversation
	namespace string
	log       SourceLog
	follower  *follower   // nil: not shown as one
	zstd      *compressor // nil: the sink doesn't take it
	limit     int         // bytes of a part
	beat      *time.Ticker
}

func (c *conversation) chunkSender(h hello, log SourceLog, f *follower) *chunkSender {
	s := &chunkSender{
		conversation: c, namespace: h.namespace, log: log, follower: f, limit: h.maxPart,
	}
	if h.compression == dbv1.Compression_COMPRESSION_ZSTD {
		s.zstd = &c.encoder.zstd
	}
	if r := c.o.SnapshotRate; r != nil {
		s.limit = min(s.limit, r.Burst())
	}
	return s
}

func (s *chunkSender) send(ctx context.Context, next nextChunk) error {
	ctx, cancel := context.WithCancel(ctx)
	s.beat = time.NewTicker(s.o.Heartbeat)
	chunks, failed := make(chan encodedChunk), make(chan error, 1)
	s.wg.Go(func() { failed <- s.read(ctx, next, chunks) })
	err := s.pass(ctx, chunks)
	s.beat.Stop()
	cancel()
	if readErr := <-failed; err == nil && readErr != nil {
		err = &readError{readErr}
	}
	return err
}

// read reads and compresses chunks until there are no more, or ctx ends.
func (s *chunkSender) read(ctx context.Context, next nextChunk, chunks chan<- encodedChunk) error {
	defer close(chunks)
	for {
		c, ok, err := next(ctx)
		if err != nil || !ok {
			return err
		}
		select {
		case chunks <- c.encode(s.zstd):
		case <-ctx.Done():
			return nil
		}
	}
}

// pass sends what read gives.
func (s *chunkSender) pass(ctx context.Context, chunks <-chan encodedChunk) error {
	for {
		select {
		case c, ok := <-chunks:
			if !ok {
				return nil
			}
			if err := s.sendParts(ctx, c); err != nil {
				return err
			}
		case <-s.beat.C:
			if err := s.heartbeat(); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (s *chunkSender) sendParts(ctx context.Context, c encodedChunk) error {
	for part := range c.parts(s.limit) {
		n := len(part.GetCells())
		if err := s.pay(ctx, n); err != nil {
			return err
		}
		if err := s.stream.Send(&dbv1.SourceMessage{Body: &dbv1.SourceMessage_Chunk{Chunk: part}}); err != nil {
			return err
		}
		s.sent.add(s.namespace, s.follower != nil, n)
		if s.follower != nil {
			s.follower.sentBytes.Add(uint64(n))
		}
	}
	return nil
}

// pay waits until the rate allows for n bytes more.
func (s *chunkSender) pay(ctx context.Context, n int) error {
	if s.o.SnapshotRate == nil {
		return nil
	}
	allowed := s.o.SnapshotRate.ReserveN(time.Now(), n)
	due := time.NewTimer(allowed.Delay())
	defer due.Stop()
	for {
		select {
		case <-due.C:
			return nil
		case <-s.beat.C:
			if err := s.heartbeat(); err != nil {
				return err
			}
		case <-ctx.Done():
			allowed.Cancel()
			return context.Cause(ctx)
		}
	}
}

// idle sends heartbeats until the stream ends.
func (s *chunkSender) idle(ctx context.Context) error {
	beat := time.NewTicker(s.o.Heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-beat.C:
			if err := s.heartbeat(); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// heartbeat says that this end is alive. A log that was replaced meanwhile ends the stream.
func (s *chunkSender) heartbeat() error {
	st := s.log.Status()
	if r := quarantinedSource(st); r != nil {
		return r
	}
	return s.stream.Send(s.conversation.heartbeat(s.namespace, s.log, st.CommitLSN, meanRecordBytes{}))
}

// pinGrace is how long the log stays pinned for a sink whose stream for a snapshot has
// ended: it comes back to follow, or to go on after a broken connection or a restart.
const pinGrace = time.Minute

// keptPin is a pin without a stream.
type keptPin struct{ dropped chan struct{} }

func keptKey(h hello) string { return h.namespace + "/" + h.nodeID }

// keep holds a pin for a while after its stream; one for each sink.
func (s *Source) keep(h hello, pin Reader) {
	s.dropKept(h)
	k, key := &keptPin{dropped: make(chan struct{})}, keptKey(h)
	s.mu.Lock()
	s.kept[key] = k
	s.mu.Unlock()
	s.wg.Go(func() {
		defer pin.Close()
		grace := time.NewTimer(pinGrace)
		defer grace.Stop()
		select {
		case <-grace.C:
		case <-k.dropped:
		case <-s.ctx.Done():
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.kept[key] == k {
			delete(s.kept, key)
		}
	})
}

// dropKept lets go of what keep holds for a sink.
func (s *Source) dropKept(h hello) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.kept[keptKey(h)]; k != nil {
		close(k.dropped)
		delete(s.kept, keptKey(h))
	}
}

// sendIntegrity answers a hello for digests or repair.
func (c *conversation) sendIntegrity(ctx context.Context, h hello, log Log, source extent) error {
	if v := decide(source, h.history); v.refused != nil || v.truncate != nil {
		return c.refuse(h, v.refusal())
	}
	var err error
	if h.purpose == dbv1.Purpose_PURPOSE_DIGESTS {
		err = c.sendDigests(h, log)
	} else {
		err = c.sendRanges(ctx, h, log)
	}
	return c.refuse(h, streamEnd(ctx, h.namespace, err))
}

func (c *conversation) sendDigests(h hello, log SourceLog) error {
	d, err := log.Digests(h.digests)
	if errors.Is(err, dbkernel.ErrNotFound) {
		return refuseForNow(CodeNotMarked, "the source has no digests of %q at LSN %d (any more)", h.namespace, h.digests).because(err)
	}
	if err != nil {
		return &readError{err}
	}
	return c.stream.Send(digestsToProto(dbkernel.Mark{LSN: h.digests}, d))
}

// sendRanges sends the cells of the ranges that are asked for. A source that is itself
// in doubt about one of them doesn't pass it on: it is repaired first, from its own source.
func (c *conversation) sendRanges(ctx context.Context, h hello, log SourceLog) error {
	bad := make(map[int]bool)
	for _, r := range log.Integrity().BadRanges {
		bad[r] = true
	}
	for _, r := range h.ranges {
		if bad[r] {
			return refuseForNow(CodeDamaged, "range %d of %q isn't right at the source, either: it is asked for again", r, h.namespace)
		}
	}
	s := c.chunkSender(h, log, nil)
	if err := s.send(ctx, rangeChunks(log, h.ranges)); err != nil {
		return err
	}
	return c.stream.Send(snapshotEndToProto(dbkernel.SnapshotEnd{LSN: log.Status().CommitLSN}))
}

// rangeChunks reads ranges of the digests one after the other.
func rangeChunks(log SourceLog, ranges []int) nextChunk {
	var from []byte
	return func(ctx context.Context) (c sentChunk, ok bool, err error) {
		if len(ranges) == 0 {
			return c, false, nil
		}
		c.digestRange = ranges[0]
		var more bool
		if c.Chunk, more, err = log.ReadRange(ctx, ranges[0], from, snapshotChunkBytes); err != nil {
			return c, false, err
		}
		if from = c.End; !more {
			ranges, from, c.rangeEnds = ranges[1:], nil, true
		}
		return c, true, nil
	}
}
