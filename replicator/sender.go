package replicator

import (
	"context"
	"errors"
	"time"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// follow sends records as they are committed, and a heartbeat in regular
// intervals. pin keeps the log from what the follower has made durable on; it is never read.
func (c *conversation) follow(ctx context.Context, h hello, log SourceLog, pin Reader, from uint64) error {
	f := &follower{namespace: h.namespace, nodeID: h.nodeID, since: c.o.Clock(), log: log}
	f.sent.Store(from - 1)
	f.durable.Store(from - 1)
	c.register(f)
	defer c.unregister(f)
	f.acks = c.acks.enter(h.namespace)
	defer c.acks.leave(h.namespace, f.acks)
	f.acks.join(f)
	defer f.acks.part(f)
	limit := c.limits.enter(h.nodeID)
	defer c.limits.leave(h.nodeID)
	c.peer.Store(&peer{follower: f, reader: pin})
	c.hold(log, from-1)

	s := sender{
		conversation: c, log: log, follower: f, sent: reach{next: from}, most: h.maxPart, limit: limit,
		zstd: h.compression == dbv1.Compression_COMPRESSION_ZSTD, pinName: c.pinName("behind", h),
	}
	if limit != nil { // a message that takes seconds would keep heartbeats waiting
		s.most = min(s.most, max(liveBatchBytes, limit.limiter.Burst()))
	}
	return streamEnd(ctx, h.namespace, s.run(ctx))
}

// streamEnd turns an error of the log into a refusal; errors of the stream stay.
func streamEnd(ctx context.Context, namespace string, err error) error {
	var read *readError
	if ctx.Err() == nil && errors.As(err, &read) {
		return openFailed(namespace, read.err)
	}
	return err
}

func (s *Source) register(f *follower) {
	s.mu.Lock()
	s.followers[f] = struct{}{}
	s.mu.Unlock()
	s.o.Logger.Info("follower connected", "namespace", f.namespace, "node", f.nodeID, "from", f.sent.Load()+1)
}

func (s *Source) unregister(f *follower) {
	s.mu.Lock()
	delete(s.followers, f)
	s.mu.Unlock()
	s.o.Logger.Info("follower gone", "namespace", f.namespace, "node", f.nodeID, "durable", f.durable.Load())
}

// readError is an error of the log, as opposed to one of the stream.
type readError struct{ err error }

func (e *readError) Error() string { return e.err.Error() }
func (e *readError) Unwrap() error { return e.err }

// sender is the sending half of a conversation. It is live, with a cursor in the
// feed of the namespace, or behind, with a reader of its own.
type sender struct {
	*conversation
	log      SourceLog
	follower *follower
	sent     reach
	most     int // bytes of records in a message
	zstd     bool
	limit    *rateCap
	pinName  string
	beatDue  time.Time
	unacked  bool // records went since the last heartbeat, which is what they are acknowledged at
	mean     meanRecordBytes
	link     linkSpeed
}

// run sends until ctx ends.
func (s *sender) run(ctx context.Context) error {
	if err := s.beat(); err != nil {
		return err
	}
	for {
		cursor, err := s.catchUp(ctx)
		if err != nil {
			return err
		}
		if s.unacked { // the feed's next heartbeat may be a while away
			err = s.beat()
		}
		if err == nil {
			err = s.live(ctx, cursor)
		}
		s.leave(cursor)
		if !errors.Is(err, errFellBehind) {
			return err
		}
		s.o.Logger.Debug("follower fell behind", "namespace", s.follower.namespace, "node", s.follower.nodeID, "lsn", s.sent.next)
	}
}

// catchUp reads the log until the follower can be live.
func (s *sender) catchUp(ctx context.Context) (*cursor, error) {
	b := behind{sender: s}
	defer b.close()
	for {
		if s.most >= liveBatchBytes && s.sent.part == 0 {
			if c, err := s.join(s.follower.namespace, s.log, s.sent.next, b.caughtUp()); c != nil || err != nil {
				return c, err
			}
		}
		if err := b.step(ctx); err != nil {
			return nil, err
		}
	}
}

// behind is a sender that reads the log itself: in large pieces, from memory or
// the disk.
type behind struct {
	*sender
	reader Reader // nil before the first step
	packer packer
	lent   lent // the run that is being sent
	level  bool // all that was committed at the last step has been sent
}

// caughtUp reports whether there is nothing to read, or was none at the last step.
func (b *behind) caughtUp() bool { return b.level || b.log.Status().CommitLSN < b.sent.next }

// step sends what the log has next, or a heartbeat when that is due.
func (b *behind) step(ctx context.Context) error {
	if b.reader == nil {
		reader, err := b.log.Tail(b.pinName, b.sent.next)
		if err != nil {
			return &readError{err}
		}
		b.reader = reader
		b.packer = packer{limit: b.most, sent: b.sent.part, emit: func(m batch) error { return b.sendOwn(ctx, m, b.lent) }}
	}
	held, err := b.takeLane(ctx)
	if err != nil {
		return err
	}
	due, cancel := context.WithDeadline(ctx, b.beatDue)
	defer cancel()
	began := time.Now()
	run, err := b.reader.Next(due, batchBytes)
	if held != nil {
		b.lanes.leave(held, began)
	}
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case due.Err() != nil:
		b.packer.release()
		return b.beat()
	default:
		return &readError{err}
	}
	b.lent = lend(run)
	defer b.lent.free()
	if err := b.packer.pack(run); err != nil {
		return err
	}
	b.reader.Ack(run.Last)
	b.mean.add(run.Bytes, run.Last-run.First+1)
	b.level = run.Last >= run.Commit
	return b.beatIfDue()
}

// takeLane waits for a lane; nil where it needs none, because it waits for commits like those
// that are live. Heartbeats go on.
func (b *behind) takeLane(ctx context.Context) (*lane, error) {
	if b.log.Status().CommitLSN < b.sent.next {
		return nil, nil
	}
	for {
		beat := time.NewTimer(time.Until(b.beatDue))
		select {
		case held := <-b.lanes:
			beat.Stop()
			pause(ctx, time.Until(held.free)) // a heartbeat that falls due waits, too: sending with a lane in hand could hold up all
			giveWay(ctx, b.liveFirst, laneSlack)
			if ctx.Err() != nil {
				b.lanes <- held
				return nil, context.Cause(ctx)
			}
			return held, nil
		case <-beat.C:
			if err := b.beat(); err != nil {
				return nil, err
			}
		case <-ctx.Done():
			beat.Stop()
			return nil, context.Cause(ctx)
		}
	}
}

// liveFirst reports whether writers or those who are live wait for the processor: a commit is under way, or
// the round that tells of it.
func (b *behind) liveFirst() bool { return committing(b.log) || b.telling(b.follower.namespace) }

func (b *behind) close() {
	if b.reader != nil {
		b.reader.Close()
	}
}

// sendOwn sends a batch that nobody else is sent. It is compressed where the link
// is slower than that.
func (s *sender) sendOwn(ctx context.Context, m batch, l lent) error {
	msg := m.encodeInPlace(l)
	if s.zstd && (s.limit != nil || s.link.slow()) {
		if packed := s.packOwn(m); packed != nil {
			msg.free()
			msg = packed
		}
	}
	return s.send(ctx, msg, m.ends())
}

// packOwn is the batch in its compressed form; nil where that doesn't pay.
func (s *sender) packOwn(m batch) encoded {
	records := m.pieces[0]
	if len(m.pieces) > 1 {
		records = make([]byte, 0, m.size)
		for _, piece := range m.pieces {
			records = append(records, piece...)
		}
	}
	if packed := s.encoder.packed(m, records); packed != nil {
		return encoded{packed}
	}
	return nil
}

// live sends what the feed has, until the follower falls behind.
func (s *sender) live(ctx context.Context, c *cursor) error {
	for {
		k, err := c.take(s.most)
		if err != nil {
			return err
		}
		if !k.empty() {
			if err := s.sendCatch(ctx, k); err != nil {
				return err
			}
			continue
		}
		select {
		case <-c.wake:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// sendCatch sends batches, and the heartbeat with them, as one message.
func (s *sender) sendCatch(ctx context.Context, k catch) error {
	defer k.free()
	msg, err := k.message(s.zstd)
	if err != nil {
		return err
	}
	if err := s.send(ctx, msg, k.ends(s.sent)); err != nil {
		return err
	}
	for _, b := range k.batches {
		s.mean.add(b.size, b.last-b.first+1)
	}
	if k.beat != nil {
		s.beatSent()
		return nil
	}
	return s.beatIfDue()
}

// send sends a message that is encoded, and gives the references to it back.
// ends is how far the stream has come then.
func (s *sender) send(ctx context.Context, msg encoded, ends reach) error {
	defer msg.free()
	n := msg.len()
	if err := s.await(ctx, s.limit.take(n)); err != nil {
		return err
	}
	s.sent, s.unacked = ends, true
	// Set first: the acknowledgement may be here before SendMsg returns. A record whose
	// parts are under way can't be acknowledged.
	s.follower.sent.Store(ends.next - 1)
	began := time.Now()
	err := s.stream.SendMsg(msg)
	s.link.sent(n, time.Since(began))
	return err
}

// await waits for a moment; heartbeats go on.
func (s *sender) await(ctx context.Context, at time.Time) error {
	for time.Until(at) > 0 {
		beatFirst := s.beatDue.Before(at)
		if beatFirst {
			pause(ctx, time.Until(s.beatDue))
		} else {
			pause(ctx, time.Until(at))
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if beatFirst {
			if err := s.beat(); err != nil {
				return err
			}
		}
	}
	return nil
}

// beatIfDue sends a heartbeat of its own to a follower that the feed's don't reach,
// because it never has all.
func (s *sender) beatIfDue() error {
	if time.Until(s.beatDue) > 0 {
		return nil
	}
	return s.beat()
}

func (s *sender) beat() error {
	s.beatSent()
	return s.stream.Send(s.heartbeat(s.follower.namespace, s.log, s.follower.sent.Load(), s.mean))
}

// beatSent sets when the next heartbeat is due: a little later than the feed's, which come
// of themselves.
func (s *sender) beatSent() {
	s.beatDue, s.unacked = time.Now().Add(s.o.Heartbeat+s.o.Heartbeat/8), false
}

// heartbeat is what the source says of a namespace to a follower that was sent
// all records up to sent.
func (s *Source) heartbeat(namespace string, log SourceLog, sent uint64, mean meanRecordBytes) *dbv1.SourceMessage {
	st := log.Status()
	h := &dbv1.Heartbeat{
		SourceTimeUnixNano: s.clock.stamp(),
		CommitLsn:          st.CommitLSN,
		EndLsn:             st.DurableLSN,
		BacklogBytes:       mean.of(sent, st.CommitLSN),
		Marks:              marksToProto(log.Marks()),
	}
	s.o.Owner(namespace).tell(h)
	return &dbv1.SourceMessage{Body: &dbv1.SourceMessage_Heartbeat{Heartbeat: h}}
}

// meanRecordBytes is the mean length of the records that a stream has carried.
type meanRecordBytes struct{ records, bytes uint64 }

func (m *meanRecordBytes) add(bytes int, records uint64) {
	m.records += records
	m.bytes += uint64(bytes)
}

// guessedRecordBytes stands for the mean length of records before any was sent.
const guessedRecordBytes = 256

// of estimates the bytes of the records between two LSNs.
func (m meanRecordBytes) of(sent, commit uint64) uint64 {
	if commit <= sent {
		return 0
	}
	mean := uint64(guessedRecordBytes)
	if m.records > 0 {
		mean = max(1, m.bytes/m.records)
	}
	return (commit - sent) * mean
}

// linkSpeed tells whether sending waits for the other end, from how long it took lately.
type linkSpeed struct{ perByte float64 } // nanoseconds, decaying

const (
	// slowLink is the time of a byte on a link of 20 MB/s. Compressing a byte takes a
	// tenth of that.
	slowLink = 50
	// measurable is how long a message must be to tell something of the link.
	measurable = 16 << 10
)

func (l *linkSpeed) sent(n int, took time.Duration) {
	if n >= measurable {
		l.perByte += (float64(took)/float64(n) - l.perByte) / 8
	}
}

func (l *linkSpeed) slow() bool { return l.perByte > slowLink }
