package replicator

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// DefaultHeartbeat is how often a source says something at least.
const DefaultHeartbeat = 500 * time.Millisecond

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
	// SnapshotRate bounds what snapshots and repairs send, in bytes a second; the
	// Sources of a node share one. nil: no bound. Make it with NewSnapshotRate.
	SnapshotRate *rate.Limiter
	// Owner says what is known of a namespace's owner, which is passed on to
	// followers; nil: this node owns everything.
	Owner func(namespace string) OwnerReport
	// Authorize says why a node must not have a namespace; nil: every node may have
	// all. ctx is that of the stream, and knows the other end's certificate.
	Authorize func(ctx context.Context, nodeID, namespace string) error
	// Acks is told what followers make durable; the Sources of a node share one.
	// nil: one that nobody asks.
	Acks *Acks
	// HoldName is the name under which what is offered is held in the log, across restarts,
	// until the one that takes it has acknowledged it; empty: it is pinned while a stream is up.
	HoldName string
	// Compression is CompressionZstd, which is also what "" means, or CompressionNone.
	Compression string
	// FollowerBytesPerSecond bounds the records that are sent to one node, over all
	// its streams; 0: no bound.
	FollowerBytesPerSecond int64
}

// SourceStream is the stream as a source sees it, whichever end dialled.
type SourceStream interface {
	Context() context.Context
	Send(*dbv1.SourceMessage) error
	// SendMsg sends a message that Codec can marshal.
	SendMsg(m any) error
	Recv() (*dbv1.SinkMessage, error)
}

// Source sends this node's logs to those who follow them. A stream has two
// goroutines, one for each direction. Live followers of a namespace share its feed;
// nothing is shared with the log's writers.
type Source struct {
	o      SourceOptions
	clock  steadyClock
	ctx    context.Context // ends with Close
	cancel context.CancelCauseFunc
	serial atomic.Uint64 // tells the pins of one follower's streams apart
	feeds  feeds
	acks   *Acks
	limits rateCaps
	lanes  lanes
	sent   sentTotals

	encoder batchEncoder

	mu        sync.Mutex
	closed    bool
	followers map[*follower]struct{}
	kept      map[string]*keptPin // by namespace and node
	wg        sync.WaitGroup      // streams, their receiving goroutines, and kept pins
}

// NewSource makes a source. It starts nothing.
func NewSource(o SourceOptions) *Source {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.Owner == nil {
		o.Owner = func(string) OwnerReport { return OwnerReport{NodeID: o.NodeID} }
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	o.Heartbeat = min(max(cmp.Or(o.Heartbeat, DefaultHeartbeat), minHeartbeat), maxHeartbeat)
	s := &Source{o: o, clock: newSteadyClock(o.Clock), followers: make(map[*follower]struct{}), kept: make(map[string]*keptPin)}
	s.acks, s.encoder.pool = cmp.Or(o.Acks, &Acks{}), bufferPool
	s.limits.bytesPerSecond, s.lanes = o.FollowerBytesPerSecond, newLanes()
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

	c := &conversation{Source: s, stream: stream, offered: offered, hello: make(chan hello, 1), want: make(chan want, 1)}
	drained := make(chan struct{})
	s.wg.Go(func() {
		purpose, err := c.receiveHello()
		// What follows needs less stack than a hello, and a goroutine keeps what it once
		// had: with a thousand followers that is megabytes.
		s.wg.Go(func() {
			defer close(drained)
			if err == nil {
				err = c.receive(purpose)
			}
			cancel(err)
			c.drain()
		})
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
