package replicator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/unisondb/unisondb/dbkernel"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// AcceptorOptions configure an Acceptor. Zero fields that aren't required have defaults.
type AcceptorOptions struct {
	NodeID string       // of this node; required
	Store  Store        // required
	Logger hclog.Logger // silent by default
	Clock  func() time.Time
	// Accept says why a namespace isn't taken from a node that has dialled this one;
	// nil: nothing is taken. ctx is that of the stream.
	Accept func(ctx context.Context, nodeID, namespace string, lineage dbkernel.Lineage) error
	// Compression is CompressionZstd, which is also what "" means, or CompressionNone.
	Compression string
}

// Acceptor receives namespaces from sources that dialled this node.
type Acceptor struct {
	o      AcceptorOptions
	unzip  decompressor
	ctx    context.Context // ends with Close
	cancel context.CancelCauseFunc

	mu       sync.Mutex
	sinks    map[string]*Sink
	accepted map[*acceptance]struct{} // streams that are being received
	wg       sync.WaitGroup           // goroutines that wait for an offer
}

// acceptance is a stream that is being received.
type acceptance struct {
	namespace string
	cancel    context.CancelCauseFunc
	ended     chan struct{}
}

// NewAcceptor makes an acceptor. It starts nothing.
func NewAcceptor(o AcceptorOptions) *Acceptor {
	if o.Accept == nil {
		o.Accept = func(_ context.Context, nodeID, namespace string, _ dbkernel.Lineage) error {
			return fmt.Errorf("this node doesn't take namespace %q from node %q: let it follow that node instead, or offer it to its hub", namespace, nodeID)
		}
	}
	a := &Acceptor{o: o, sinks: map[string]*Sink{}, accepted: map[*acceptance]struct{}{}}
	a.ctx, a.cancel = context.WithCancelCause(context.Background())
	return a
}

// AcceptedStream is a stream of Offer as the sink sees it.
type AcceptedStream interface {
	SinkStream
	Context() context.Context
}

// Serve receives what a source offers, until the stream ends. The error is a
// *Refusal where the source was told why.
func (a *Acceptor) Serve(stream AcceptedStream) error {
	m, err := a.awaitOffer(stream)
	if err != nil {
		return err
	}
	o, err := parseOffer(m)
	if err == nil {
		err = a.accept(stream.Context(), o)
	}
	if err != nil {
		return a.refuse(stream, err)
	}
	if err := a.receive(stream, o); !peerLeft(err) && !errors.Is(err, errNextStream) {
		return err
	}
	return nil
}

// accept asks whether an offer is taken. What isn't today may be tomorrow: who owns a
// namespace is agreed on while nodes run.
func (a *Acceptor) accept(ctx context.Context, o offer) error {
	err := a.o.Accept(ctx, o.nodeID, o.namespace, o.lineage)
	var refusal *Refusal
	if err == nil || errors.As(err, &refusal) {
		return err
	}
	return refuseForNow(CodeOfferRefused, "%v", err)
}

// awaitOffer reads what the source says first. Nothing cuts a Recv but the
// return of Serve, so that it has a goroutine of its own.
func (a *Acceptor) awaitOffer(stream AcceptedStream) (*dbv1.SourceMessage, error) {
	type first struct {
		m   *dbv1.SourceMessage
		err error
	}
	said := make(chan first, 1)
	if err := a.enter(); err != nil {
		return nil, err
	}
	go func() {
		defer a.wg.Done()
		m, err := stream.Recv()
		said <- first{m, err}
	}()
	timeout := time.NewTimer(helloTimeout)
	defer timeout.Stop()
	select {
	case f := <-said:
		return f.m, f.err
	case <-timeout.C:
		return nil, a.refuse(stream, refuseForNow(CodeInvalidMessage, "no offer came within %v", helloTimeout))
	case <-a.ctx.Done():
		return nil, context.Cause(a.ctx)
	}
}

// enter counts a stream, unless the acceptor is closed.
func (a *Acceptor) enter() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ctx.Err() != nil {
		return errShuttingDown
	}
	a.wg.Add(1)
	return nil
}

// refuse tells the source why its offer isn't taken.
func (a *Acceptor) refuse(stream AcceptedStream, err error) error {
	m := &dbv1.SinkMessage{Body: &dbv1.SinkMessage_Refused{Refused: asRefusal(err).proto()}}
	if sendErr := stream.Send(m); sendErr != nil {
		return errors.Join(err, sendErr)
	}
	return err
}

func (a *Acceptor) receive(stream AcceptedStream, o offer) error {
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	defer context.AfterFunc(a.ctx, func() { cancel(context.Cause(a.ctx)) })()
	s, leave := a.begin(o.namespace, cancel)
	defer leave()
	_, err := s.Run(ctx, cancel, stream, o.nodeID)
	return err
}

// begin is the sink of a stream, which Drop ends.
func (a *Acceptor) begin(namespace string, cancel context.CancelCauseFunc) (s *Sink, leave func()) {
	s = a.sink(namespace)
	one := &acceptance{namespace: namespace, cancel: cancel, ended: make(chan struct{})}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.sinks[namespace] != s { // dropped meanwhile
		cancel(errNotReceived)
	}
	a.accepted[one] = struct{}{}
	return s, func() {
		a.mu.Lock()
		delete(a.accepted, one)
		a.mu.Unlock()
		close(one.ended)
	}
}

var errNotReceived = refuseForNow(CodeOfferRefused, "this node doesn't receive the namespace any more: offer it to the hub that does")

// Drop ends the streams of a namespace, waits until nothing touches it any more, and
// forgets how it did. Whether a new offer is taken is for Accept to say.
func (a *Acceptor) Drop(namespace string) {
	a.mu.Lock()
	s := a.sinks[namespace]
	delete(a.sinks, namespace)
	var running []*acceptance
	for one := range a.accepted {
		if one.namespace == namespace {
			running = append(running, one)
		}
	}
	a.mu.Unlock()
	for _, one := range running {
		one.cancel(errNotReceived)
		<-one.ended
	}
	if s != nil {
		s.Wait()
	}
}

// Owner is what is known of the owner of a namespace that is received; zero where it isn't.
func (a *Acceptor) Owner(namespace string) OwnerReport {
	a.mu.Lock()
	s := a.sinks[namespace]
	a.mu.Unlock()
	if s == nil {
		return OwnerReport{}
	}
	return s.Owner()
}

func (a *Acceptor) sink(namespace string) *Sink {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.sinks[namespace]
	if s == nil {
		s = NewSink(SinkOptions{
			NodeID: a.o.NodeID, Namespace: namespace, Store: a.o.Store, Logger: a.o.Logger, Clock: a.o.Clock,
			Compression: a.o.Compression, decompressor: &a.unzip,
		})
		a.sinks[namespace] = s
	}
	return s
}

// Status says how each namespace that was ever offered and taken does, by name.
func (a *Acceptor) Status() []SinkStatus {
	a.mu.Lock()
	out := make([]SinkStatus, 0, len(a.sinks))
	for _, s := range a.sinks {
		out = append(out, s.Status())
	}
	a.mu.Unlock()
	slices.SortFunc(out, func(x, y SinkStatus) int { return cmp.Compare(x.Namespace, y.Namespace) })
	return out
}

// Interrupt makes all streams end; new ones are refused. It doesn't wait.
func (a *Acceptor) Interrupt() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cancel(errShuttingDown)
}

// Close ends all streams and waits for what they left running.
func (a *Acceptor) Close() {
	a.Interrupt()
	a.mu.Lock()
	sinks := make([]*Sink, 0, len(a.sinks))
	for _, s := range a.sinks {
		sinks = append(sinks, s)
	}
	a.mu.Unlock()
	for _, s := range sinks {
		s.Wait()
	}
	a.wg.Wait()
}

var _ AcceptedStream = dbv1.Replication_OfferServer(nil)
