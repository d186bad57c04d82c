package replicator

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/unisondb/unisondb/dbkernel"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// States of following a namespace, as `status` shows them.
const (
	StateBootstrapping = "bootstrapping" // there is no whole copy yet
	StateServing       = "serving"       // what is there can be read, connected or not
	StateStalled       = "stalled"       // it can be read, and nothing new comes without help
	StateForked        = "forked"        // it can be read, and isn't the source's history
)

// sinkQueueBytes bounds what a stream has received and not yet appended.
const sinkQueueBytes = 8 << 20

// sinkPartBytes is the largest batch that a sink asks for. A slow link has
// carried one in a time that is short beside the time of silence.
const sinkPartBytes = 64 << 10

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
	// Compression is what batches and chunks may come in: CompressionZstd, the default,
	// or CompressionNone.
	Compression string
	// decompressor is shared by the sinks of a connection; nil: this one has its own.
	decompressor *decompressor
	// UpstreamOf names the upstream block that an address belongs to; nil: none.
	UpstreamOf func(address string) string
}

// Sink receives one namespace, over one stream after the other, and knows how that goes.
type Sink struct {
	o         SinkOptions
	lag       lag
	inspector inspector
	wg        sync.WaitGroup // receiving goroutines, waits for a stage, repairs

	mu        sync.Mutex
	status    SinkStatus
	streaming bool
	present   bool     // there is a namespace, which has been whole once, whatever became of it
	copy      *arrival // nil: no copy is arriving
	turns     int      // streams in a row that asked for another one at once
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
	// Snapshot is how far a copy of the namespace has arrived; nil: none is arriving.
	Snapshot *SnapshotStatus
	Forks    ForkStatus
	// Integrity is what comparing with the source has found.
	Integrity ComparisonStatus
}

// ForkStatus counts what was taken out of a namespace since the node started, because
// it wasn't the source's history. The kernel lists what was set aside (dbkernel.DB.Aside).
type ForkStatus struct {
	Truncated uint64 // times that records were cut off
	Replaced  uint64 // times that all of it was replaced by a new copy
	Last      string // what happened the last time, and why
}

// NewSink makes a sink. It starts nothing.
func NewSink(o SinkOptions) *Sink {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.decompressor == nil {
		o.decompressor = new(decompressor)
	}
	s := &Sink{o: o, lag: lag{now: o.Clock}, inspector: inspector{now: o.Clock}}
	if s.o.UpstreamOf == nil {
		s.o.UpstreamOf = func(string) string { return "" }
	}
	s.status = SinkStatus{Namespace: o.Namespace, State: StateBootstrapping}
	if l, err := o.Store.Open(o.Namespace); err == nil {
		s.resumeFrom(l.Status())
	}
	return s
}

// resumeFrom begins with what a namespace has that is here already. It was
// whole when it got its name, and is served, connected or not.
func (s *Sink) resumeFrom(st dbkernel.Status) {
	s.present = true
	if r := quarantined(st); r != nil {
		s.noteLocked(r)
		return
	}
	s.status.State, s.status.LSN = StateServing, st.DurableLSN
	s.lag.reached(st.CommitLSN, 0)
}

// Status says how the following goes.
func (s *Sink) Status() SinkStatus {
	s.mu.Lock()
	st := s.status
	if s.copy != nil {
		st.Snapshot = s.copy.status()
	}
	if s.copy != nil && s.present && st.Code == "" {
		st.State, st.Code, st.Reason = StateStalled, CodeCopyArriving, fmt.Sprintf("%s; until it is complete, what is here is served", st.Snapshot)
	}
	s.mu.Unlock()
	st.Lag = s.lag.status()
	st.Integrity = s.inspector.status()
	return st
}

// Owner is what has been heard of the namespace's owner.
func (s *Sink) Owner() OwnerReport {
	o := s.lag.report()
	s.mu.Lock()
	defer s.mu.Unlock()
	o.NodeID = s.status.Owner
	return o
}

// Wait waits for what streams have left running; it ends once they were cut.
func (s *Sink) Wait() { s.wg.Wait() }

// errBusy: one namespace takes one stream at a time.
var errBusy = refuseForNow(CodeOfferRefused, "the namespace is being received already, from another node or over another connection: it is tried again")

// Run receives over one stream until it ends, and says why it did. cancel must
// cut the stream and end ctx; on a stream that a gRPC server accepted it is
// the return of the handler that cuts it. address is for the status.
func (s *Sink) Run(ctx context.Context, cancel context.CancelCauseFunc, stream SinkStream, address string) (progress bool, err error) {
	return s.run(ctx, cancel, stream, link{address: address})
}

// run is Run with what is known of the stream's connection.
func (s *Sink) run(ctx context.Context, cancel context.CancelCauseFunc, stream SinkStream, l link) (progress bool, err error) {
	if err := s.begin(l.address); err != nil {
		return false, err
	}
	defer func() { s.end(err) }()
	p, err := s.plan(ctx)
	if err != nil {
		return false, err
	}
	if p.purpose == dbv1.Purpose_PURPOSE_SNAPSHOT {
		progress, err = s.newCopying(p, stream, l).run(ctx, cancel)
	} else {
		progress, err = s.newReception(p, stream, l).run(ctx, cancel)
	}
	return s.turn(progress, err)
}

// hello is what a stream of this sink begins with.
func (s *Sink) hello(purpose dbv1.Purpose, ours history) hello {
	return hello{
		nodeID: s.o.NodeID, namespace: s.o.Namespace, purpose: purpose, history: ours,
		maxPart: sinkPartBytes, compressions: compressions(s.o.Compression),
	}
}

// maxTurns bounds how often one stream may follow another without a pause.
const maxTurns = 16

// turn counts streams that ask for another one at once. Each of them has changed
// something on disk; a source that makes that go on and on is waited for as others are.
func (s *Sink) turn(progress bool, err error) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !errors.Is(err, errNextStream) {
		s.turns = 0
		return progress, err
	}
	if s.turns++; s.turns < maxTurns {
		return true, err
	}
	s.turns = 0
	return false, refuseForNow(CodeUnavailable, "%d streams in a row brought no records: %v", maxTurns, err)
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
	connected := s.status.Connected
	s.status.Connected = false
	if errors.Is(err, errNextStream) {
		return
	}
	if connected {
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
	case s.present:
		s.status.State = StateStalled
	default:
		s.status.State = StateBootstrapping
	}
}

// connected notes that a source has agreed to send. staged: to a copy that isn't
// the namespace yet.
func (s *Sink) connected(source string, staged bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Source, s.status.Connected = source, true
	s.status.Code, s.status.Reason = "", ""
	if s.present {
		s.status.State = StateServing
	} else {
		s.status.State = StateBootstrapping
	}
	if !staged {
		s.copy = nil
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

// appended notes what is durable in the namespace.
func (s *Sink) appended(durable uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.LSN = durable
}

// installed notes that a copy has become the namespace.
func (s *Sink) installed(durable uint64, replaced string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.present, s.copy = true, nil
	s.status.State, s.status.Code, s.status.Reason = StateServing, "", ""
	s.status.LSN = durable
	if replaced != "" {
		s.status.Forks.Replaced++
		s.status.Forks.Last = replaced
	}
}

// truncated notes that records were cut off.
func (s *Sink) truncated(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Forks.Truncated++
	s.status.Forks.Last = reason
}
