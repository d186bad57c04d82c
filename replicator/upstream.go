package replicator

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// UpstreamOptions configure an Upstream. Zero fields that aren't required have defaults.
type UpstreamOptions struct {
	Name      string   // of the upstream block; for messages and status
	NodeID    string   // of this node; required
	Addresses []string // gRPC addresses, tried in order; required
	Store     Store    // of this node's namespaces; required
	// NameOf names the upstream block that an address belongs to, where there
	// are several; nil: Name.
	NameOf func(address string) string

	Namespaces []string // to follow
	Offers     []string // to offer: this node has them and the upstream receives

	// Credentials secure the connections; nil: plain TCP.
	Credentials credentials.TransportCredentials
	// CredentialsOf are those for an address, where they differ; nil: Credentials for all.
	CredentialsOf func(address string) credentials.TransportCredentials
	Logger        hclog.Logger // silent by default
	// Dial connects to an address; nil: TCP. Tests put a network of their own here.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// Clock and Rand serve lag and jitter; nil: time.Now and math/rand's Float64.
	Clock func() time.Time
	Rand  func() float64
	// Heartbeat is for what is offered; 0: DefaultHeartbeat.
	Heartbeat time.Duration
	// Compression is CompressionZstd, which is also what "" means, or CompressionNone; for both directions.
	Compression string
	// Acks, FollowerBytesPerSecond and SnapshotRate are for what is offered, as in SourceOptions.
	Acks                   *Acks
	FollowerBytesPerSecond int64
	SnapshotRate           *rate.Limiter
}

// Upstream follows namespaces of another node, and offers it others, over one
// connection per address, and keeps at it whatever happens to the connection.
type Upstream struct {
	o      UpstreamOptions
	conns  []*grpc.ClientConn // by address; they connect when first used
	meters []*meter           // of what the connections receive, by address
	sinks  []*Sink            // by namespace
	source *Source
	// hurries end the wait before a namespace's next attempt. Each has room for one.
	hurries map[string]chan struct{}

	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
	start  sync.Once
}

// NewUpstream checks the options. Nothing runs before Start.
func NewUpstream(o UpstreamOptions) (*Upstream, error) {
	o, err := o.validated()
	if err != nil {
		return nil, fmt.Errorf("upstream %q: %w", o.Name, err)
	}
	u := &Upstream{o: o, hurries: map[string]chan struct{}{}}
	for _, ns := range slices.Concat(o.Namespaces, o.Offers) {
		u.hurries[ns] = make(chan struct{}, 1)
	}
	u.ctx, u.cancel = context.WithCancelCause(context.Background())
	for _, address := range o.Addresses {
		m := &meter{}
		conn, err := connect(address, m.dialler(o.Dial), o.CredentialsOf(address))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("upstream %q: address %q: %w", o.Name, address, err), u.closeConns())
		}
		u.conns, u.meters = append(u.conns, conn), append(u.meters, m)
	}
	unzip := new(decompressor)
	for _, ns := range o.Namespaces {
		s := NewSink(SinkOptions{
			NodeID: o.NodeID, Namespace: ns, Store: o.Store, Logger: o.Logger, Clock: o.Clock, UpstreamOf: o.NameOf,
			Compression: o.Compression, decompressor: unzip,
		})
		s.status.Upstream = o.NameOf(o.Addresses[0])
		u.sinks = append(u.sinks, s)
	}
	u.source = NewSource(SourceOptions{
		NodeID: o.NodeID, Store: o.Store, Logger: o.Logger, Clock: o.Clock, Heartbeat: o.Heartbeat,
		Compression: o.Compression, Acks: o.Acks, FollowerBytesPerSecond: o.FollowerBytesPerSecond, SnapshotRate: o.SnapshotRate,
	})
	return u, nil
}

func (o UpstreamOptions) validated() (UpstreamOptions, error) {
	switch {
	case o.NodeID == "":
		return o, errors.New("a node id is required")
	case len(o.Addresses) == 0:
		return o, errors.New("at least one address is required")
	case o.Store == nil:
		return o, errors.New("a store is required")
	}
	all := slices.Concat(o.Namespaces, o.Offers)
	slices.Sort(all)
	if len(all) == 0 {
		return o, errors.New("at least one namespace is required")
	}
	if len(slices.Compact(all)) != len(o.Namespaces)+len(o.Offers) {
		return o, errors.New("a namespace is named twice")
	}
	if o.NameOf == nil {
		o.NameOf = func(string) string { return o.Name }
	}
	if o.Credentials == nil {
		o.Credentials = insecure.NewCredentials()
	}
	if o.CredentialsOf == nil {
		o.CredentialsOf = func(string) credentials.TransportCredentials { return o.Credentials }
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.Dial == nil {
		o.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", address)
		}
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Float64
	}
	return o, nil
}

// Start begins to follow. It doesn't wait for a connection.
func (u *Upstream) Start() {
	u.start.Do(func() {
		for _, s := range u.sinks {
			u.wg.Go(func() { u.keep(s.o.Namespace, s.Note, u.followThrough(s)) })
		}
		for _, ns := range u.o.Offers {
			u.wg.Go(func() { u.keep(ns, func(string, error) {}, u.offerThrough(ns)) })
		}
	})
}

var errClosed = refuseForNow(CodeShuttingDown, "this node stops following")

// Close stops following and waits until nothing of it runs.
func (u *Upstream) Close() error {
	u.start.Do(func() {}) // a later Start does nothing
	u.cancel(errClosed)
	u.source.Interrupt()
	u.wg.Wait()
	err := u.closeConns()
	for _, s := range u.sinks {
		s.Wait()
	}
	u.source.Close()
	return err
}

func (u *Upstream) closeConns() error {
	var errs []error
	for _, c := range u.conns {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// Name is the upstream's name.
func (u *Upstream) Name() string { return u.o.Name }

// Hurry makes the next attempt to follow or offer a namespace at once, where this
// end waits for it: somebody has removed what the last one failed for.
func (u *Upstream) Hurry(namespace string) {
	select {
	case u.hurries[namespace] <- struct{}{}:
	default: // it is not of this upstream, or hurries already
	}
}

// Owner is what is known of the owner of a namespace; zero where it isn't followed.
func (u *Upstream) Owner(namespace string) OwnerReport {
	for _, s := range u.sinks {
		if s.o.Namespace == namespace {
			return s.Owner()
		}
	}
	return OwnerReport{}
}

// Status says how each followed namespace does, in the order of the options.
func (u *Upstream) Status() []SinkStatus {
	out := make([]SinkStatus, len(u.sinks))
	for i, s := range u.sinks {
		out[i] = s.Status()
	}
	return out
}

// Offered says how far the upstream has taken what it is offered; a namespace
// is absent while no stream is up.
func (u *Upstream) Offered() []FollowerStatus { return u.source.Followers() }

// attempt runs one stream over the connection of an address, by its index, until it ends.
// progress says that it was worth something.
type attempt func(ctx context.Context, cancel context.CancelCauseFunc, client dbv1.ReplicationClient, i int) (progress bool, err error)

func (u *Upstream) followThrough(s *Sink) attempt {
	return func(ctx context.Context, cancel context.CancelCauseFunc, client dbv1.ReplicationClient, i int) (bool, error) {
		stream, err := client.Follow(ctx)
		if err != nil {
			return false, err
		}
		return s.run(ctx, cancel, stream, u.link(i))
	}
}

// link is the connection to an address, as the sinks see it.
func (u *Upstream) link(i int) link {
	return link{address: u.o.Addresses[i], meter: u.meters[i], open: func(ctx context.Context) (SinkStream, context.CancelCauseFunc, error) {
		ctx, cancel := context.WithCancelCause(ctx)
		stream, err := dbv1.NewReplicationClient(u.conns[i]).Follow(ctx)
		if err != nil {
			cancel(err)
			return nil, nil, fmt.Errorf("one more stream to %s: %w", u.o.Addresses[i], refusalOf(err))
		}
		return stream, cancel, nil
	}}
}

func (u *Upstream) offerThrough(namespace string) attempt {
	return func(ctx context.Context, _ context.CancelCauseFunc, client dbv1.ReplicationClient, _ int) (bool, error) {
		stream, err := client.Offer(ctx)
		if err != nil {
			return false, err
		}
		err = u.source.Offer(stream, namespace)
		return err == nil || !complaint(err), err
	}
}

// errNextStream ends a stream that was for something else than the next one,
// which the sink wants at once from the same source.
var errNextStream = errors.New("the next stream is for another purpose")

// keep makes one stream after the other until the upstream is closed.
func (u *Upstream) keep(namespace string, note func(address string, err error), try attempt) {
	log := u.o.Logger.With("namespace", namespace)
	b := backoff{n: len(u.conns), rand: u.o.Rand}
	var said string
	for u.ctx.Err() == nil {
		address := u.o.Addresses[b.address]
		progress, err := u.try(try, b.address)
		if u.ctx.Err() != nil {
			return
		}
		if progress && errors.Is(err, errNextStream) {
			continue
		}
		note(address, err)
		// One line for each new reason: an upstream that is away for a night doesn't fill the log.
		if reason := fmt.Sprint(err); progress || reason != said {
			log.Warn("replication stream ended", "upstream", u.o.NameOf(address), "address", address, "error", err)
			said = reason
		}
		select {
		case <-time.After(b.next(progress, err == nil || asRefusal(err).Retryable)):
		case <-u.hurries[namespace]:
		case <-u.ctx.Done():
		}
	}
}

// connectPatience is how long an attempt waits for a connection where there
// are other addresses. The connection is worked on meanwhile, so that one that takes
// longer is there when its address has its turn again.
const connectPatience = 500 * time.Millisecond

// try makes one attempt; when it returns, its stream is cut.
func (u *Upstream) try(try attempt, i int) (bool, error) {
	ctx, cancel := context.WithCancelCause(u.ctx)
	defer cancel(nil)
	patience := helloTimeout
	if len(u.conns) > 1 {
		patience = connectPatience
	}
	connecting := time.AfterFunc(patience, func() {
		cancel(refuseForNow(CodeUnavailable, "no stream to %s within %v", u.o.Addresses[i], patience))
	})
	client := dbv1.NewReplicationClient(firstContact{u.conns[i], connecting})
	progress, err := try(ctx, cancel, client, i)
	return progress, refusalOf(err)
}

// firstContact stops a timer once a stream is made.
type firstContact struct {
	*grpc.ClientConn
	timer *time.Timer
}

// NewStream implements grpc.ClientConnInterface.
func (c firstContact) NewStream(ctx context.Context, d *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	defer c.timer.Stop()
	return c.ClientConn.NewStream(ctx, d, method, opts...)
}
