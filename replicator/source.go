package replicator

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/unisondb/unisondb/dbkernel"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// DefaultHeartbeat is how often a source says something at least.
const DefaultHeartbeat = time.Second

// helloTimeout is how long the other end may take for the first step of a handshake.
const helloTimeout = 5 * time.Second

// batchBytes is how much a source reads from the log at a time. A batch carries
// what has queued up while the one before was sent, up to this.
const batchBytes = 512 << 10

// SourceOptions configure a Source. Zero fields that aren't required have defaults.
type SourceOptions struct {
	NodeID string       // of this node; required
	Store  Store        // required
	Logger hclog.Logger // silent by default
	// Clock is what heartbeats carry; nil: time.Now.
	Clock func() time.Time
	// Heartbeat is how often a stream says something at least; 0: DefaultHeartbeat.
	Heartbeat time.Duration
	// Owner names who takes writes to a namespace, "" where it isn't known; nil:
	// this node.
	Owner func(namespace string) string
}

// SourceStream is the stream as a source sees it, whichever end dialled.
type SourceStream interface {
	Context() context.Context
	Send(*dbv1.SourceMessage) error
	Recv() (*dbv1.SinkMessage, error)
}

// Source sends this node's logs to those who follow them. A stream has two
// goroutines, one for each direction; nothing in it is shared with other streams or
// with the log's writers.
type Source struct {
	o      SourceOptions
	ctx    context.Context // ends with Close
	cancel context.CancelCauseFunc
	serial atomic.Uint64 // tells the pins of one follower's streams apart

	mu        sync.Mutex
	closed    bool
	followers map[*follower]struct{}
	wg        sync.WaitGroup // streams, and their receiving goroutines
}

// NewSource makes a source. It starts nothing.
func NewSource(o SourceOptions) *Source {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.Owner == nil {
		o.Owner = func(string) string { return o.NodeID }
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	o.Heartbeat = min(max(cmp.Or(o.Heartbeat, DefaultHeartbeat), minHeartbeat), maxHeartbeat)
	s := &Source{o: o, followers: make(map[*follower]struct{})}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	return s
}

// Interrupt makes all streams end; new ones are refused. It doesn't wait.
func (s *Source) Interrupt() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel(errShuttingDown)
}

// Close ends all streams and waits for them. A stream that was accepted by a
// gRPC server ends only once its handler has returned or its connection is cut.
func (s *Source) Close() {
	s.Interrupt()
	s.wg.Wait()
}

var errShuttingDown = refuseForNow(CodeShuttingDown, "the node is shutting down: try another node, or again later")

// enter counts a stream, unless the source is closed.
func (s *Source) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errShuttingDown
	}
	s.wg.Add(1)
	return nil
}

// Followers lists the streams that are up, by namespace and node.
func (s *Source) Followers() []FollowerStatus {
	s.mu.Lock()
	out := make([]FollowerStatus, 0, len(s.followers))
	for f := range s.followers {
		out = append(out, f.status())
	}
	s.mu.Unlock()
	slices.SortFunc(out, func(a, b FollowerStatus) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.NodeID, b.NodeID), a.Since.Compare(b.Since))
	})
	return out
}

// Serve streams to a sink whose hello comes first, until the stream ends. The
// error is a *Refusal where the sink was told why; nil when the sink went away.
func (s *Source) Serve(stream SourceStream) error {
	return s.serve(stream, "")
}

// OfferStream is the stream of an Offer as the source sees it, which dialled.
type OfferStream interface {
	SourceStream
	CloseSend() error
}

// Offer offers a namespace to the sink at the other end and streams to it.
func (s *Source) Offer(stream OfferStream, namespace string) error {
	l, err := s.o.Store.Open(namespace)
	if err != nil {
		return openFailed(namespace, err)
	}
	st := l.Status()
	if r := quarantinedSource(st); r != nil {
		return r
	}
	o := offer{nodeID: s.o.NodeID, namespace: namespace, lineage: st.Lineage}
	if err := stream.Send(o.proto()); err != nil {
		return err
	}
	return s.serve(stream, namespace)
}

// serve runs one stream; offered is the only namespace that the hello may then name.
func (s *Source) serve(stream SourceStream, offered string) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.wg.Done()
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	defer context.AfterFunc(s.ctx, func() { cancel(context.Cause(s.ctx)) })()

	c := &conversation{Source: s, stream: stream, offered: offered, hello: make(chan hello, 1)}
	drained := make(chan struct{})
	s.wg.Go(func() {
		defer close(drained)
		cancel(c.receive())
		c.drain()
	})
	err := c.send(ctx)
	if errors.Is(err, io.EOF) {
		<-ctx.Done() // the stream is over; the receiving goroutine learns why
	}
	var refused *Refusal
	if ctx.Err() != nil && !errors.As(err, &refused) {
		// What ended the stream says more than the call that failed for it.
		err = context.Cause(ctx)
	}
	if out, ok := stream.(OfferStream); ok && errors.As(err, &refused) {
		linger(out, drained)
	}
	if peerLeft(err) {
		return nil
	}
	return err
}

// lingerTimeout bounds the wait until the other end has read a refusal.
const lingerTimeout = time.Second

// linger lets the other end read what was sent last: the end that dialled
// cuts the stream when it returns, and what is still under way with it.
func linger(stream OfferStream, drained <-chan struct{}) {
	if stream.CloseSend() != nil {
		return // cut already
	}
	timeout := time.NewTimer(lingerTimeout)
	defer timeout.Stop()
	select {
	case <-drained:
	case <-timeout.C:
	case <-stream.Context().Done():
	}
}

// peerLeft reports whether a stream ended because the other end left, or this
// one was told to stop.
func peerLeft(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) || status.Code(err) == codes.Canceled
}

// conversation is one stream of a Source.
type conversation struct {
	*Source
	stream  SourceStream
	offered string
	hello   chan hello
	peer    atomic.Pointer[peer] // set before records flow
}

// peer is what the receiving goroutine needs once records flow.
type peer struct {
	follower *follower
	reader   Reader
}

// receive takes the hello, then acknowledgements, until the stream ends.
func (c *conversation) receive() error {
	m, err := c.stream.Recv()
	if err != nil {
		return err
	}
	if r := m.GetRefused(); r != nil && c.offered != "" {
		return refusalFrom(r)
	}
	h, err := parseHello(m)
	if err == nil && c.offered != "" && h.namespace != c.offered {
		err = refuse(CodeInvalidMessage, "%q was offered, the hello asks for %q", c.offered, h.namespace)
	}
	if err != nil {
		return err
	}
	c.hello <- h
	for {
		m, err := c.stream.Recv()
		if err != nil {
			return err
		}
		if err := c.acknowledge(m.GetAck()); err != nil {
			return err
		}
	}
}

// drain reads until the stream ends, so that the other end can always finish
// what it is saying, and sees what was said to it.
func (c *conversation) drain() {
	for {
		if _, err := c.stream.Recv(); err != nil {
			return
		}
	}
}

// acknowledge moves the follower's positions and its pin. Messages of other
// kinds belong to later versions and are skipped.
func (c *conversation) acknowledge(ack *dbv1.Ack) error {
	p := c.peer.Load()
	if ack == nil || p == nil {
		return nil
	}
	durable := ack.GetDurableLsn()
	if sent := p.follower.sent.Load(); durable > sent {
		return refuse(CodeInvalidMessage, "the follower acknowledges LSN %d, sent were records up to %d", durable, sent)
	}
	p.follower.received.Store(ack.GetReceivedLsn())
	p.follower.applied.Store(ack.GetAppliedLsn())
	if p.follower.durable.Swap(durable) < durable {
		p.reader.Ack(durable)
	}
	return nil
}

// send answers the hello and then sends records until ctx ends.
func (c *conversation) send(ctx context.Context) error {
	h, err := c.awaitHello(ctx)
	if err != nil {
		return c.refuse(h, err)
	}
	log, err := c.o.Store.Open(h.namespace)
	if err != nil {
		return c.refuse(h, openFailed(h.namespace, err))
	}
	source := extentOf(log)
	v := decide(source, h.history)
	var reader Reader
	if v.refusal() == nil {
		reader, v, err = c.openTail(log, h, v)
	}
	if err != nil {
		return c.refuse(h, err)
	}
	if reader != nil {
		defer reader.Close()
	}
	if err := c.stream.Send(answerMessage(c.o.NodeID, h, source, v, c.o.Heartbeat)); err != nil {
		return err
	}
	if err := v.refusal(); err != nil {
		c.o.Logger.Info("follower refused", "namespace", h.namespace, "node", h.nodeID, "reason", err)
		return err
	}
	return c.follow(ctx, h, log, reader, v.resumeFrom)
}

func (c *conversation) awaitHello(ctx context.Context) (hello, error) {
	timeout := time.NewTimer(helloTimeout)
	defer timeout.Stop()
	select {
	case h := <-c.hello:
		return h, nil
	case <-timeout.C:
		return hello{}, refuseForNow(CodeInvalidMessage, "no hello came within %v", helloTimeout)
	case <-ctx.Done():
		return hello{}, context.Cause(ctx)
	}
}

// refuse tells the sink why nothing will come, where err is a refusal, and returns it.
func (c *conversation) refuse(h hello, err error) error {
	var r *Refusal
	if !errors.As(err, &r) {
		return err
	}
	c.o.Logger.Info("follower refused", "namespace", h.namespace, "node", h.nodeID, "reason", r)
	if sendErr := c.stream.Send(answerMessage(c.o.NodeID, h, extent{}, verdict{refused: r}, 0)); sendErr != nil {
		return errors.Join(err, sendErr)
	}
	return err
}

// openTail opens the log where the verdict says; the log may have been trimmed
// since the verdict was reached.
func (c *conversation) openTail(log Log, h hello, v verdict) (Reader, verdict, error) {
	pin := "follower/" + h.nodeID + "/" + strconv.FormatUint(c.serial.Add(1), 10)
	reader, err := log.Tail(pin, v.resumeFrom)
	switch {
	case err == nil:
		return reader, v, nil
	case errors.Is(err, dbkernel.ErrTrimmed):
		return nil, logTrimmed(log.Status().FirstLSN, v.resumeFrom), nil
	case errors.Is(err, dbkernel.ErrGap):
		return nil, v, refuseForNow(CodeSourceBehind, "the source's log ends before LSN %d: it is tried again", v.resumeFrom).because(err)
	default:
		return nil, v, openFailed(h.namespace, err)
	}
}

// openFailed says in the protocol's words why a namespace can't be read.
func openFailed(namespace string, err error) *Refusal {
	switch {
	case errors.Is(err, dbkernel.ErrNamespaceNotFound):
		return refuseForNow(CodeNamespaceNotFound,
			"the source has no namespace %q: create it there, or correct the name; it is tried again", namespace).because(err)
	case errors.Is(err, dbkernel.ErrClosed):
		return errShuttingDown
	case errors.Is(err, dbkernel.ErrTrimmed):
		return refuse(CodeLogTrimmed, "the follower of %q fell behind the source's log: %v", namespace, err).because(err)
	case errors.Is(err, dbkernel.ErrDamaged):
		return refuse(CodeDamaged, "the source can't read its log of %q: %v; follow another source until it is repaired", namespace, err).because(err)
	default:
		return refuseForNow(CodeUnavailable, "the source can't read %q: %v", namespace, err).because(err)
	}
}

// follow sends records as they are committed, and a heartbeat in regular
// intervals. Data never waits for a timer: the only one ends the wait for data.
func (c *conversation) follow(ctx context.Context, h hello, log SourceLog, reader Reader, from uint64) error {
	f := &follower{namespace: h.namespace, nodeID: h.nodeID, since: c.o.Clock()}
	f.sent.Store(from - 1)
	f.durable.Store(from - 1)
	c.peer.Store(&peer{follower: f, reader: reader})
	c.register(f)
	defer c.unregister(f)

	s := sender{conversation: c, log: log, reader: reader, follower: f}
	s.packer = packer{limit: h.maxPart, emit: s.sendBatch}
	for {
		if err := s.heartbeat(); err != nil {
			return err
		}
		if err := s.untilNextBeat(ctx); err != nil {
			return streamEnd(ctx, h.namespace, err)
		}
	}
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

// sender is the sending half of a conversation.
type sender struct {
	*conversation
	log      SourceLog
	reader   Reader
	follower *follower
	packer   packer

	records, bytes uint64 // sent on this stream, for the mean length of a record
}

// untilNextBeat sends what the log has until a heartbeat is due.
func (s *sender) untilNextBeat(ctx context.Context) error {
	due, cancel := context.WithTimeout(ctx, s.o.Heartbeat)
	defer cancel()
	idle := true
	for due.Err() == nil {
		run, err := s.reader.Next(due, batchBytes)
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case due.Err() != nil:
			if idle {
				s.packer.release()
			}
			return nil
		default:
			return &readError{err}
		}
		idle = false
		if err := s.packer.pack(run); err != nil {
			return err
		}
		s.records += run.Last - run.First + 1
		s.bytes += uint64(run.Bytes)
	}
	return nil
}

func (s *sender) sendBatch(b *dbv1.Batch) error {
	// Set first: the acknowledgement may be here before Send returns.
	s.follower.sent.Store(b.GetLastLsn())
	return s.stream.Send(&dbv1.SourceMessage{Body: &dbv1.SourceMessage_Batch{Batch: b}})
}

func (s *sender) heartbeat() error {
	st := s.log.Status()
	return s.stream.Send(&dbv1.SourceMessage{Body: &dbv1.SourceMessage_Heartbeat{Heartbeat: &dbv1.Heartbeat{
		SourceTimeUnixNano: s.o.Clock().UnixNano(),
		CommitLsn:          st.CommitLSN,
		EndLsn:             st.DurableLSN,
		BacklogBytes:       s.backlog(st.CommitLSN),
		Owner:              s.o.Owner(s.follower.namespace),
	}}})
}

// guessedRecordBytes stands for the mean length of records before any was sent.
const guessedRecordBytes = 256

// backlog estimates the bytes between what was sent and the commit LSN.
func (s *sender) backlog(commit uint64) uint64 {
	sent := s.follower.sent.Load()
	if commit <= sent {
		return 0
	}
	mean := uint64(guessedRecordBytes)
	if s.records > 0 {
		mean = max(1, s.bytes/s.records)
	}
	return (commit - sent) * mean
}
