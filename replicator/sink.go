package replicator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/unisondb/unisondb/dbkernel"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// States of following a namespace, as `status` shows them.
const (
	StateBootstrapping = "bootstrapping" // there is no data yet
	StateServing       = "serving"       // what is there can be read, connected or not
	StateStalled       = "stalled"       // it can be read, and nothing new comes without help
	StateForked        = "forked"        // it can be read, and isn't the source's history
)

// sinkQueueBytes bounds what a stream has received and not yet appended.
const sinkQueueBytes = 8 << 20

// sinkPartBytes is the largest batch that a sink asks for. A slow link has
// carried one in a time that is short beside the time of silence.
const sinkPartBytes = 64 << 10

// A stream that is silent for this many heartbeats is made anew.
const silentBeats = 4

// SinkStream is the stream as a sink sees it, whichever end dialled.
type SinkStream interface {
	Send(*dbv1.SinkMessage) error
	Recv() (*dbv1.SourceMessage, error)
}

// SinkOptions configure a Sink. Zero fields that aren't required have defaults.
type SinkOptions struct {
	NodeID    string       // of this node; required
	Namespace string       // required
	Store     Store        // required
	Logger    hclog.Logger // silent by default
	Clock     func() time.Time
	// UpstreamOf names the upstream block that an address belongs to; nil: none.
	UpstreamOf func(address string) string
}

// Sink receives one namespace, over one stream after the other, and knows how that goes.
type Sink struct {
	o   SinkOptions
	lag lag
	wg  sync.WaitGroup // receiving goroutines

	mu        sync.Mutex
	status    SinkStatus
	streaming bool
	first     bootstrap
}

// bootstrap is how the first copy of a namespace goes: it is done when this node
// has applied what the source had committed at the first contact.
type bootstrap struct {
	pending bool
	known   bool   // a source has answered
	target  uint64 // its commit LSN then
}

// SinkStatus is how the following of one namespace does.
type SinkStatus struct {
	Namespace string
	Upstream  string // name of the upstream block; empty where the source dialled
	Address   string // connected to, or last tried
	Source    string // node id of the source; empty until one has answered
	Owner     string // node id of who takes writes, as the source has it; empty: not known
	Connected bool   // records can flow
	// State is StateBootstrapping, StateServing, StateStalled or StateForked.
	// The kernel's own states (frozen, quarantined) come before it.
	State  string
	Code   string // stable; empty while nothing but the connection is wrong
	Reason string // what is wrong, and what to do
	// LastError is why the last stream ended; it stays when the next one runs.
	LastError  string
	LSN        uint64 // durable here
	Reconnects uint64 // streams that ended
	Lag        LagStatus
}

// NewSink makes a sink. It starts nothing.
func NewSink(o SinkOptions) *Sink {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	s := &Sink{o: o, lag: lag{now: o.Clock}}
	if s.o.UpstreamOf == nil {
		s.o.UpstreamOf = func(string) string { return "" }
	}
	s.status = SinkStatus{Namespace: o.Namespace, State: StateBootstrapping}
	s.first.pending = true
	if l, err := o.Store.Open(o.Namespace); err == nil {
		s.resumeFrom(l.Status())
	}
	return s
}

// resumeFrom begins with what a namespace has that is here already.
func (s *Sink) resumeFrom(st dbkernel.Status) {
	if r := quarantined(st); r != nil {
		s.first.pending = false
		s.noteLocked(r)
		return
	}
	s.status.LSN = st.DurableLSN
	if st.DurableLSN > 0 {
		s.first.pending, s.status.State = false, StateServing
	}
	s.lag.reached(st.CommitLSN, 0)
}

// Status says how the following goes.
func (s *Sink) Status() SinkStatus {
	s.mu.Lock()
	st := s.status
	s.mu.Unlock()
	st.Lag = s.lag.status()
	return st
}

// Wait waits for what streams have left running; it ends once they were cut.
func (s *Sink) Wait() { s.wg.Wait() }

// errBusy: one namespace takes one stream at a time.
var errBusy = refuseForNow(CodeOfferRefused, "the namespace is being received already, from another node or over another connection: it is tried again")

// Run receives over one stream until it ends, and says why it did. cancel must
// cut the stream and end ctx; on a stream that a gRPC server accepted it is
// the return of the handler that cuts it. address is for the status.
func (s *Sink) Run(ctx context.Context, cancel context.CancelCauseFunc, stream SinkStream, address string) (progress bool, err error) {
	return s.run(ctx, cancel, stream, address, nil)
}

// run is Run with traffic, which says how many bytes the stream's connection
// has received; nil: not known.
func (s *Sink) run(ctx context.Context, cancel context.CancelCauseFunc, stream SinkStream, address string, traffic func() uint64) (progress bool, err error) {
	if err := s.begin(address); err != nil {
		return false, err
	}
	r := &reception{Sink: s, stream: stream, traffic: traffic, queue: newQueue(sinkQueueBytes)}
	defer func() { s.end(err) }()
	return r.run(ctx, cancel)
}

func (s *Sink) begin(address string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streaming {
		return errBusy
	}
	s.streaming = true
	s.triesLocked(address)
	return nil
}

func (s *Sink) triesLocked(address string) {
	s.status.Address, s.status.Upstream = address, s.o.UpstreamOf(address)
}

func (s *Sink) end(err error) {
	s.lag.end()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streaming = false
	if s.status.Connected {
		s.status.Connected = false
		s.status.Reconnects++
	}
	s.noteLocked(err)
}

// Note records why a stream didn't come about or ended.
func (s *Sink) Note(address string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.triesLocked(address)
	s.noteLocked(err)
}

// noteLocked turns an error into what the status shows. A broken connection
// changes the last error only: it doesn't take back what a source has said.
func (s *Sink) noteLocked(err error) {
	if err == nil {
		return
	}
	r := asRefusal(err)
	s.status.LastError = r.Error()
	if !complaint(r) {
		return
	}
	s.status.Code, s.status.Reason = r.Code, r.Reason
	switch {
	case r.Code == CodeForked:
		s.status.State = StateForked
	case !s.first.pending:
		s.status.State = StateStalled
	}
}

// connected notes that a source has agreed to send, and how much it had committed then.
func (s *Sink) connected(source string, lsn, commit uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Source, s.status.Connected = source, true
	s.status.State, s.status.Code, s.status.Reason = StateServing, "", ""
	s.status.LSN = lsn
	if !s.first.pending {
		return
	}
	s.status.State = StateBootstrapping
	if !s.first.known {
		s.first.known, s.first.target = true, commit
	}
}

// owned notes who takes writes. What a source doesn't know changes nothing.
func (s *Sink) owned(owner string) {
	if owner == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Owner = owner
}

// appended notes what is durable and what readers see. With all that the source had
// at the first contact, the namespace serves.
func (s *Sink) appended(durable, applied uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.LSN = durable
	if s.first.pending && s.first.known && applied >= s.first.target {
		s.first.pending, s.status.State = false, StateServing
	}
}

// reception is one stream of a Sink. Two goroutines: one reads the stream into
// the queue, one appends all that is queued as one group and acknowledges it.
type reception struct {
	*Sink
	stream   SinkStream
	traffic  func() uint64
	queue    *queue
	log      Log // nil until the namespace exists here
	ours     history
	received uint64 // the last record taken from the queue
	heard    bool   // the source said something after its answer
}

func (r *reception) run(ctx context.Context, cancel context.CancelCauseFunc) (bool, error) {
	if err := r.greet(); err != nil {
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
	if r.log != nil && r.log.Status().DurableLSN > r.ours.lsn {
		return true
	}
	return r.heard && !complaint(err)
}

// complaint tells errors that are about what was sent from broken connections.
func complaint(err error) bool {
	code := asRefusal(err).Code
	return code != CodeUnavailable && code != CodeShuttingDown
}

// streamFailed says why a stream ended: what cut it, where it was cut from here.
func streamFailed(ctx context.Context, err error) error {
	var r *Refusal
	if !errors.As(err, &r) && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if errors.Is(err, io.EOF) {
		return refuseForNow(CodeUnavailable, "the source ended the stream")
	}
	return refusalOf(err)
}

// greet sends the hello. A log that can't be read isn't an empty one: the
// stream then ends before this end has said anything.
func (r *reception) greet() error {
	l, err := r.o.Store.Open(r.o.Namespace)
	switch {
	case err == nil:
		r.log = l
		var st dbkernel.Status
		r.ours, st = historyOf(l)
		if q := quarantined(st); q != nil {
			return q
		}
	case !errors.Is(err, dbkernel.ErrNamespaceNotFound):
		return fmt.Errorf("open namespace %q: %w", r.o.Namespace, err)
	}
	h := hello{nodeID: r.o.NodeID, namespace: r.o.Namespace, history: r.ours, maxPart: sinkPartBytes}
	return r.say(h.proto())
}

// say sends a message. That the stream is over isn't an error here: the
// receiving goroutine learns why, and the queue ends with it.
func (r *reception) say(m *dbv1.SinkMessage) error {
	if err := r.stream.Send(m); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// receive reads the stream into the queue until it ends. Silence cuts it, but
// only while this end listens: a full queue isn't the source's fault.
func (r *reception) receive(ctx context.Context, cancel context.CancelCauseFunc) {
	var in decoder
	limit := helloTimeout
	watchdog := watchSilence(limit, r.traffic, func(limit time.Duration) {
		cancel(refuseForNow(CodeUnavailable, "the source said nothing for %v: the stream is made anew", limit))
	})
	defer watchdog.pause()
	for {
		m, err := r.stream.Recv()
		if !watchdog.pause() || ctx.Err() != nil {
			r.queue.close(context.Cause(ctx))
			return
		}
		var item intake
		if err == nil {
			item, err = in.decode(m, r.ours, &r.lag)
		}
		if err == nil {
			err = r.queue.put(ctx, item)
		}
		if err != nil {
			r.queue.close(err)
			return
		}
		if item.answer != nil {
			limit = max(silentBeats*item.answer.heartbeat, time.Second)
		}
		watchdog.resume(limit)
	}
}

// decoder turns messages into what the appending goroutine needs.
type decoder struct {
	answered bool
	unpacker unpacker
}

func (d *decoder) decode(m *dbv1.SourceMessage, ours history, lag *lag) (intake, error) {
	if !d.answered {
		a, err := parseAnswer(m, ours)
		if err != nil {
			return intake{}, err
		}
		d.answered, d.unpacker.next = true, a.from
		return intake{answer: &a, commit: a.commit}, nil
	}
	switch body := m.GetBody().(type) {
	case *dbv1.SourceMessage_Batch:
		records, err := d.unpacker.unpack(body.Batch)
		if err != nil {
			return intake{}, err
		}
		item := intake{records: records, last: d.unpacker.next - 1, commit: body.Batch.GetCommitLsn()}
		for _, r := range records {
			item.bytes += len(r)
		}
		lag.received(len(body.Batch.GetRecords()), item.bytes, item.commit)
		return item, nil
	case *dbv1.SourceMessage_Heartbeat:
		h := body.Heartbeat
		lag.heartbeat(beat{source: time.Unix(0, h.GetSourceTimeUnixNano()), commit: h.GetCommitLsn()}, h.GetBacklogBytes())
		return intake{commit: h.GetCommitLsn(), beat: true, owner: clip(h.GetOwner(), maxNodeIDLen)}, nil
	case *dbv1.SourceMessage_Answer, *dbv1.SourceMessage_Offer:
		return intake{}, refuse(CodeInvalidMessage, "the source says %T in the middle of a stream", body)
	default:
		return intake{}, nil // of a later version
	}
}

// process does what the queue gave: agree, append, acknowledge.
func (r *reception) process(ctx context.Context, item intake) error {
	if item.answer != nil {
		if err := r.agree(*item.answer); err != nil {
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
			return appendFailed(r.o.Namespace, err)
		}
	} else if item.commit > 0 {
		r.log.SetCommit(item.commit)
	}
	st := r.log.Status()
	r.lag.reached(st.CommitLSN, item.bytes)
	r.appended(st.DurableLSN, st.CommitLSN)
	if len(item.records) == 0 && !item.beat {
		return nil
	}
	return r.say(&dbv1.SinkMessage{Body: &dbv1.SinkMessage_Ack{Ack: &dbv1.Ack{
		ReceivedLsn: max(r.received, st.DurableLSN), DurableLsn: st.DurableLSN, AppliedLsn: st.CommitLSN,
	}}})
}

// agree makes the namespace at the first contact; it takes the source's lineage.
func (r *reception) agree(a resumption) error {
	if r.log == nil {
		l, err := r.o.Store.Create(r.o.Namespace, a.lineage)
		if err != nil {
			return fmt.Errorf("create namespace %q: %w", r.o.Namespace, err)
		}
		r.log = l
		r.o.Logger.Info("namespace created", "namespace", r.o.Namespace, "lineage", a.lineage, "source", a.source)
	}
	if have := r.log.Status().Lineage; have != a.lineage {
		return refuse(CodeLineageMismatch, "the source resumes with lineage %s, %q has %s here: it keeps what it has", a.lineage, r.o.Namespace, have)
	}
	r.lag.begin(a.heartbeat)
	r.connected(a.source, r.ours.lsn, a.commit)
	r.o.Logger.Info("following", "namespace", r.o.Namespace, "source", a.source, "from", a.from)
	return nil
}

// appendFailed says in the protocol's words why records weren't taken.
func appendFailed(namespace string, err error) *Refusal {
	switch {
	case errors.Is(err, dbkernel.ErrFork):
		return forked(fmt.Sprintf("records of %q don't extend what this node has: %v", namespace, err)).because(err)
	case errors.Is(err, dbkernel.ErrGap):
		return refuseForNow(CodeGap, "records of %q leave a gap: %v; they are asked for again", namespace, err).because(err)
	case errors.Is(err, dbkernel.ErrDamaged):
		return refuseForNow(CodeDamagedRecord, "records of %q are damaged: %v; they are asked for again", namespace, err).because(err)
	case errors.Is(err, dbkernel.ErrDiskFull):
		return refuseForNow(CodeDiskFull, "no space for records of %q: %v; free some, it is tried again", namespace, err).because(err)
	case errors.Is(err, dbkernel.ErrFrozen):
		return refuse(CodeFrozen, "%q takes no records: %v", namespace, err).because(err)
	default:
		return refuseForNow(CodeUnavailable, "append to %q: %v", namespace, err).because(err)
	}
}
