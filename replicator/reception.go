package replicator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/unisondb/unisondb/dbkernel"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// hear reads a stream until it ends or handle fails, and says why. handle
// answers how often the source speaks, once it knows. Silence cuts the stream, but only
// while this end listens: what handle waits for isn't the source's fault.
func hear(ctx context.Context, cancel context.CancelCauseFunc, stream SinkStream, l link, handle func(*dbv1.SourceMessage) (time.Duration, error)) error {
	limit := helloTimeout
	watchdog := watchSilence(limit, l, func(limit time.Duration) {
		cancel(refuseForNow(CodeUnavailable, "the source said nothing for %v: the stream is made anew", limit))
	})
	defer watchdog.pause()
	for {
		m, err := stream.Recv()
		if !watchdog.pause() || ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		if m.GetHeartbeat() != nil {
			l.meter.beat(proto.Size(m))
		}
		every, err := handle(m)
		if err != nil {
			return err
		}
		if every > 0 {
			limit = silenceLimit(every, l)
		}
		watchdog.resume(limit)
	}
}

// reception is one stream of a Sink that brings records. Two goroutines: one reads
// the stream into the queue, one appends all that is queued as one group and acknowledges it.
type reception struct {
	*Sink
	plan
	stream   SinkStream
	link     link
	queue    *queue
	received uint64          // the last record taken from the queue
	unacked  int             // bytes of records since the last acknowledgement
	came     time.Time       // when the last records did
	heard    bool            // the source said something after its answer
	ready    bool            // the stage can be installed
	healing  <-chan *Refusal // gets the outcome of the healing under way; nil: there is none
}

func (s *Sink) newReception(p plan, stream SinkStream, l link) *reception {
	return &reception{Sink: s, plan: p, stream: stream, link: l, queue: newQueue(sinkQueueBytes)}
}

func (r *reception) run(ctx context.Context, cancel context.CancelCauseFunc) (bool, error) {
	h := r.hello(dbv1.Purpose_PURPOSE_UNSPECIFIED, r.history)
	if err := say(r.stream, h.proto()); err != nil {
		return false, streamFailed(ctx, err)
	}
	r.wg.Go(func() { r.receive(ctx, cancel) })
	for {
		item, err := r.queue.take(ctx)
		if err == nil {
			err = r.process(ctx, item)
		}
		if err != nil {
			err = streamFailed(ctx, err)
			return r.progressed(err), err
		}
	}
}

// progressed reports whether the stream was worth something, so that the next
// attempt needn't wait long: records became durable, or the connection broke while all was
// well. What this end complained of would only come again.
func (r *reception) progressed(err error) bool {
	if errors.Is(err, errNextStream) || r.log != nil && r.log.Status().DurableLSN > r.history.lsn {
		return true
	}
	return r.heard && !complaint(err)
}

// complaint tells errors that are about what was sent from broken connections.
func complaint(err error) bool {
	switch asRefusal(err).Code {
	case CodeUnavailable, CodeShuttingDown, CodeSuperseded:
		return false
	default:
		return true
	}
}

// streamFailed says why a stream ended: what cut it, where it was cut from here.
func streamFailed(ctx context.Context, err error) error {
	var r *Refusal
	if !errors.As(err, &r) && !errors.Is(err, errNextStream) && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if errors.Is(err, io.EOF) {
		return refuseForNow(CodeUnavailable, "the source ended the stream")
	}
	return refusalOf(err)
}

// say sends a message. That the stream is over isn't an error here: whoever
// receives learns why.
func say(stream SinkStream, m *dbv1.SinkMessage) error {
	if err := stream.Send(m); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// receive reads the stream into the queue until it ends.
func (r *reception) receive(ctx context.Context, cancel context.CancelCauseFunc) {
	var in decoder
	if r.compresses() {
		in.zstd = r.o.decompressor
	}
	var stuck stall
	r.queue.close(hear(ctx, cancel, r.stream, r.link, func(m *dbv1.SourceMessage) (time.Duration, error) {
		item, err := in.decode(m, r.history, &r.lag)
		if err == nil {
			err = stuck.note(m, in.unpacker.next-1, time.Now())
		}
		err = errors.Join(err, r.queue.put(ctx, item))
		if err != nil || item.answer == nil || item.answer.resume == nil {
			return 0, err
		}
		return item.answer.resume.heartbeat, nil
	}))
}

// decoder turns messages into what the appending goroutine needs.
type decoder struct {
	zstd     *decompressor // nil: it wasn't offered
	answered bool
	unpacker unpacker
}

func (d *decoder) decode(m *dbv1.SourceMessage, ours history, lag *lag) (intake, error) {
	if !d.answered {
		a, err := parseAnswer(m, ours)
		if err != nil {
			return intake{}, err
		}
		d.answered = true
		item := intake{answer: &a}
		if a.resume != nil {
			d.unpacker.next, item.commit = a.resume.from, a.resume.commit
			if a.resume.compression == dbv1.Compression_COMPRESSION_ZSTD {
				if d.zstd == nil {
					return intake{}, refuse(CodeInvalidMessage, "the source chose compression %v, which wasn't offered", a.resume.compression)
				}
				d.unpacker.zstd = d.zstd
			}
		}
		return item, nil
	}
	var item intake
	carried := 0
	for _, b := range m.GetBatches() {
		// However well they are compressed, they are bounded like a message.
		if carried += rawBytes(b); carried > MaxMessageBytes {
			return item, refuseForNow(CodeInvalidMessage, "a message of batches of more than %d bytes", MaxMessageBytes)
		}
		if err := d.addBatch(&item, b, lag); err != nil {
			return item, err // with what came whole before
		}
	}
	switch body := m.GetBody().(type) {
	case *dbv1.SourceMessage_Heartbeat:
		h := body.Heartbeat
		lag.heartbeat(h)
		item.beat, item.owner, item.marks = true, clip(h.GetOwner(), maxNodeIDLen), marksFromProto(h.GetMarks())
		item.commit = max(item.commit, h.GetCommitLsn())
	case *dbv1.SourceMessage_Answer, *dbv1.SourceMessage_Offer:
		return item, refuse(CodeInvalidMessage, "the source says %T in the middle of a stream", body)
	}
	return item, nil // what is of a later version is skipped
}

func (d *decoder) addBatch(item *intake, b *dbv1.Batch, lag *lag) error {
	records, err := d.unpacker.unpack(b)
	if err != nil {
		return err
	}
	whole := 0
	for _, r := range records {
		whole += len(r)
	}
	item.add(intake{records: records, bytes: whole, last: d.unpacker.next - 1, commit: b.GetCommitLsn()})
	lag.received(rawBytes(b), whole, b.GetCommitLsn())
	return nil
}

// A sink says at once what it made durable where no records had come for ackQuiet, or after
// ackBytes. Otherwise it waits for a heartbeat, which a source that wants to know sends at once: an
// acknowledgement costs both ends as much as a message of records.
const (
	ackBytes = 256 << 10
	ackQuiet = DefaultHeartbeat
)

// process does what the queue gave: agree, append, acknowledge.
func (r *reception) process(ctx context.Context, item intake) error {
	if item.answer != nil {
		if err := r.agree(ctx, *item.answer); err != nil {
			return err
		}
	}
	if item.beat || len(item.records) > 0 {
		r.heard = true
	}
	if item.beat {
		r.owned(item.owner)
	}
	if len(item.records) > 0 {
		r.received = item.last
		if err := r.log.Append(ctx, item.records, item.commit); err != nil {
			return r.stopped(appendFailed(r.o.Namespace, err))
		}
		r.moves()
	} else if item.commit > 0 {
		r.log.SetCommit(item.commit)
	}
	r.ready = r.ready || item.ready
	if err := r.install(ctx); err != nil {
		return err
	}
	st, err := r.reached(item.bytes)
	if err != nil {
		return err
	}
	if item.beat && r.stage == nil {
		if err := r.inspect(ctx, item.marks); err != nil {
			return err
		}
	}
	r.unacked += item.bytes
	first := len(item.records) > 0 && r.afterQuiet()
	if !item.beat && !first && r.unacked < ackBytes {
		return nil
	}
	r.unacked = 0
	ack := &dbv1.Ack{ReceivedLsn: max(r.received, st.DurableLSN), DurableLsn: st.DurableLSN}
	if r.stage == nil { // readers see nothing of a copy that isn't whole
		ack.AppliedLsn = st.CommitLSN
	}
	return say(r.stream, &dbv1.SinkMessage{Body: &dbv1.SinkMessage_Ack{Ack: ack}})
}

// afterQuiet says whether the records at hand are the first ones for a while.
func (r *reception) afterQuiet() bool {
	now := time.Now()
	before := r.came
	r.came = now
	return now.Sub(before) >= ackQuiet
}

// reached notes how far the log is. A copy that isn't installed says nothing of what
// readers see.
func (r *reception) reached(stored int) (dbkernel.Status, error) {
	st := r.log.Status()
	if q := quarantined(st); q != nil {
		return st, r.stopped(q)
	}
	if r.stage != nil {
		r.arrived(func(a *arrival) { a.log = st.CommitLSN })
		return st, nil
	}
	r.lag.reached(st.CommitLSN, stored)
	r.appended(st.DurableLSN)
	return st, nil
}

// stopped says how the stream ends where the log takes nothing, for the given reason. A
// namespace that only a new copy helps is asked for at once. A stage is opened anew by the next
// stream, so that nobody has to do anything about it.
func (r *reception) stopped(reason error) error {
	var refusal *Refusal
	if r.stage != nil && errors.As(reason, &refusal) {
		again := *refusal
		again.Retryable = true
		return &again
	}
	if r.stage != nil {
		return reason
	}
	if broken := brokenBy(r.log, r.log.Status()); broken != nil && broken.Retryable {
		return fmt.Errorf("%w: a new copy, since %w", errNextStream, broken)
	}
	return reason
}

// agree does what the source's answer asks for. Only with a resume does the stream go on.
func (r *reception) agree(ctx context.Context, a answer) error {
	switch {
	case a.truncate != nil:
		return r.cutOff(ctx, *a.truncate)
	case a.snapshot != nil:
		return r.askForSnapshot(*a.snapshot)
	default:
		return r.resume(ctx, a.source, *a.resume)
	}
}

// resume begins to take records. A first copy arrives in a stage, so that a part of
// one never passes for the namespace.
func (r *reception) resume(ctx context.Context, source string, a resumption) error {
	if r.log == nil {
		if err := r.stageFromStart(source, a); err != nil {
			return err
		}
	}
	if have := r.log.Status().Lineage; have != a.history.lineage {
		return refuse(CodeLineageMismatch, "the source resumes with lineage %s, %q has %s here: it keeps what it has", a.history.lineage, r.o.Namespace, have)
	}
	r.lag.begin(a.heartbeat)
	r.inspector.begin()
	r.connected(source, r.stage != nil)
	if r.stage != nil {
		stage := r.stage
		r.wg.Go(func() {
			if stage.WaitReady(ctx) == nil {
				// That the stream ended meanwhile is for the next one to find.
				_ = r.queue.put(ctx, intake{ready: true})
			}
		})
	}
	r.o.Logger.Info("following", "namespace", r.o.Namespace, "source", source, "from", a.from, "staged", r.stage != nil)
	return nil
}

// stageFromStart begins a copy that needs no snapshot.
func (r *reception) stageFromStart(source string, a resumption) error {
	stage, err := r.o.Store.Stage(r.o.Namespace, a.history.lineage)
	if err == nil {
		err = stage.FromStart(a.history.epochs, a.commit)
	}
	if err != nil {
		return stageFailed(r.o.Namespace, err)
	}
	r.stage, r.log = stage, stage.Log()
	r.arrived(func(a *arrival) { a.complete = true })
	r.o.Logger.Info("a copy begins to arrive", "namespace", r.o.Namespace, "lineage", a.history.lineage, "source", source)
	return nil
}

// askForSnapshot prepares for what the source says is the way: the next stream
// asks for it.
func (r *reception) askForSnapshot(a snapshotOffer) error {
	var err error
	if r.stage != nil {
		err = r.stage.Rebase(a.source.epochs, completes(a.source, historyOfStage(r.stage)))
	} else {
		_, err = r.o.Store.Stage(r.o.Namespace, a.source.lineage)
	}
	if err != nil {
		return stageFailed(r.o.Namespace, err)
	}
	r.o.Logger.Info("a snapshot is needed", "namespace", r.o.Namespace, "reason", a.reason)
	return fmt.Errorf("%w: a snapshot, since %s", errNextStream, a.reason)
}

// cutOff takes what isn't the source's history out, once it is clear that it isn't: parseAnswer
// has come to the same verdict as the source. Where the B+tree contains some of it, only a new copy helps.
func (r *reception) cutOff(ctx context.Context, t truncation) error {
	if r.stage != nil {
		source := extent{history: t.source, first: 1}
		if err := r.stage.Rebase(t.source.epochs, completes(source, historyOfStage(r.stage))); err != nil {
			return stageFailed(r.o.Namespace, err)
		}
		return fmt.Errorf("%w: a snapshot, since %s", errNextStream, t.reason)
	}
	err := r.o.Store.Truncate(ctx, r.o.Namespace, t.lsn, t.reason)
	switch {
	case errors.Is(err, dbkernel.ErrPastFork):
		if _, err := r.o.Store.Stage(r.o.Namespace, t.source.lineage); err != nil {
			return stageFailed(r.o.Namespace, err)
		}
		r.o.Logger.Warn("forked; a new copy is needed", "namespace", r.o.Namespace, "reason", t.reason)
		return fmt.Errorf("%w: a snapshot, since %s and the B+tree is past it", errNextStream, t.reason)
	case err != nil:
		return refuseForNow(CodeForked, "%q can't be cut off behind LSN %d: %v; what is here can be read, and it is tried again", r.o.Namespace, t.lsn, err).because(err)
	}
	cut := fmt.Sprintf("records behind LSN %d were cut off and set aside: %s", t.lsn, t.reason)
	r.truncated(cut)
	r.o.Logger.Warn("forked; truncated", "namespace", r.o.Namespace, "after", t.lsn, "reason", t.reason)
	return fmt.Errorf("%w: %s", errNextStream, cut)
}

// install makes a copy that has all that it needs the namespace. The stream goes on.
func (r *reception) install(ctx context.Context) error {
	if r.stage == nil || !r.ready {
		return nil
	}
	why, wait := r.replaces()
	if wait {
		return nil
	}
	l, err := r.stage.Install(ctx, cmp.Or(why, "a newer copy took its place"))
	if err != nil {
		return stageFailed(r.o.Namespace, err)
	}
	r.log, r.own, r.stage = l, l, nil
	st := l.Status()
	r.installed(st.DurableLSN, why)
	r.o.Logger.Info("installed", "namespace", r.o.Namespace, "lsn", st.CommitLSN, "replaced", why)
	return nil
}

// replaces says why the copy takes the place of what is here; empty where it only goes on where
// that ends. wait: what is here is of the same history and further on, so that readers would see it go back.
func (r *reception) replaces() (why string, wait bool) {
	if r.own == nil {
		return "", false
	}
	ours, st := historyOf(r.own)
	copied, stage := historyOf(r.log)
	if q := quarantined(st); q != nil {
		return "it couldn't be read (" + q.Reason + ")", false
	}
	common := commonPoint(ours, copied)
	switch {
	case ours.lineage != copied.lineage:
		return fmt.Sprintf("lineage %s was accepted in place of %s", copied.lineage, ours.lineage), false
	case common < ours.lsn && common < copied.lsn:
		return fmt.Sprintf("its history (up to LSN %d) parts from the source's behind LSN %d", ours.lsn, common), false
	default:
		return "", st.CommitLSN > stage.CommitLSN
	}
}

// stageFailed says why a copy can't be prepared or installed.
func stageFailed(namespace string, err error) *Refusal {
	switch {
	case errors.Is(err, dbkernel.ErrDiskFull):
		return refuseForNow(CodeDiskFull, "no space for a copy of %q: %v; free some, it is tried again", namespace, err).because(err)
	case errors.Is(err, dbkernel.ErrFork):
		return refuseForNow(CodeForked, "what arrived of %q isn't of one history: %v; it is asked for again", namespace, err).because(err)
	case errors.Is(err, dbkernel.ErrDamaged):
		return refuseForNow(CodeDamagedRecord, "what arrived of %q is damaged: %v; it is asked for again", namespace, err).because(err)
	case errors.Is(err, dbkernel.ErrClosed):
		return errShuttingDown
	default:
		return refuseForNow(CodeUnavailable, "preparing a copy of %q: %v", namespace, err).because(err)
	}
}

// appendFailed says in the protocol's words why records weren't taken.
func appendFailed(namespace string, err error) error {
	switch {
	case errors.Is(err, dbkernel.ErrSuperseded):
		return fmt.Errorf("%w: %w", errNextStream, err)
	case errors.Is(err, dbkernel.ErrFrozen): // before what froze it, which isn't the records' fault
		return refuse(CodeFrozen, "%q takes no records: %v", namespace, err).because(err)
	case errors.Is(err, dbkernel.ErrFork):
		return refuseForNow(CodeForked, "records of %q don't extend what this node has: %v; it is compared again", namespace, err).because(err)
	case errors.Is(err, dbkernel.ErrGap):
		return refuseForNow(CodeGap, "records of %q leave a gap: %v; they are asked for again", namespace, err).because(err)
	case errors.Is(err, dbkernel.ErrDamaged):
		return refuseForNow(CodeDamagedRecord, "records of %q are damaged: %v; they are asked for again", namespace, err).because(err)
	case errors.Is(err, dbkernel.ErrDiskFull):
		return refuseForNow(CodeDiskFull, "no space for records of %q: %v; free some, it is tried again", namespace, err).because(err)
	default:
		return refuseForNow(CodeUnavailable, "append to %q: %v", namespace, err).because(err)
	}
}
