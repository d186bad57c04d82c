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

	Namespaces []string // to follow from the start
	Offers     []string // to offer from the start: this node has them and the upstream receives

	// Credentials secure the connections; nil: plain TCP.
	Credentials credentials.TransportCredentials
	// CredentialsOf are those for an address, where they differ; nil: Credentials for all.
	CredentialsOf func(address string) credentials.TransportCredentials
	// PerRPC says with each stream who this node is, where its certificate doesn't; nil: nothing.
	PerRPC credentials.PerRPCCredentials
	Logger hclog.Logger // silent by default
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
// Namespaces come and go while it runs. Its methods may be called concurrently.
type Upstream struct {
	o      UpstreamOptions
	conns  []*grpc.ClientConn // by address; they connect when first used
	meters []*meter           // of what the connections receive, by address
	source *Source
	unzip  *decompressor

	ctx    context.Context
	cancel context.CancelCauseFunc

	mu       sync.Mutex
	started  bool
	pursuits []*pursuit // in the order in which they came
}

// pursuit is one namespace that is followed or offered.
type pursuit struct {
	namespace string
	sink      *Sink // nil: it is offered
	attempt   attempt
	// hurry ends the wait before the next attempt. It has room for one.
	hurry  chan struct{}
	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup // what runs for it
}

// NewUpstream checks the options. Nothing runs before Start.
func NewUpstream(o UpstreamOptions) (*Upstream, error) {
	o, err := o.validated()
	if err != nil {
		return nil, fmt.Errorf("upstream %q: %w", o.Name, err)
	}
	u := &Upstream{o: o, unzip: new(decompressor)}
	u.ctx, u.cancel = context.WithCancelCause(context.Background())
	for _, address := range o.Addresses {
		m := &meter{}
		conn, err := connect(address, m.dialler(o.Dial), o.CredentialsOf(address), o.PerRPC)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("upstream %q: address %q: %w", o.Name, address, err), u.closeConns())
		}
		u.conns, u.meters = append(u.conns, conn), append(u.meters, m)
	}
	u.source = NewSource(SourceOptions{
		NodeID: o.NodeID, Store: o.Store, Logger: o.Logger, Clock: o.Clock, Heartbeat: o.Heartbeat,
		HoldName: HoldName, Compression: o.Compression, Acks: o.Acks, FollowerBytesPerSecond: o.FollowerBytesPerSecond, SnapshotRate: o.SnapshotRate,
	})
	for _, ns := range o.Namespaces {
		u.Follow(ns)
	}
	for _, ns := range o.Offers {
		u.Offer(ns)
	}
	return u, nil
}

// Follow begins to follow one more namespace. One that is followed or offered
// already stays as it is; after Close nothing happens.
func (u *Upstream) Follow(namespace string) {
	u.pursue(namespace, func(p *pursuit) {
		p.sink = NewSink(SinkOptions{
			NodeID: u.o.NodeID, Namespace: namespace, Store: u.o.Store, Logger: u.o.Logger, Clock: u.o.Clock, UpstreamOf: u.o.NameOf,
			Compression: u.o.Compression, decompressor: u.unzip,
		})
		p.sink.status.Upstream = u.o.NameOf(u.o.Addresses[0])
		p.attempt = u.followThrough(p.sink)
	})
}

// Offer begins to offer one more namespace. One that is followed or offered
// already stays as it is; after Close nothing happens.
func (u *Upstream) Offer(namespace string) {
	u.pursue(namespace, func(p *pursuit) { p.attempt = u.offerThrough(namespace) })
}

// Unfollow stops following a namespace, and waits until nothing touches it any more.
func (u *Upstream) Unfollow(namespace string) { u.drop(namespace, errUnfollowed) }

// Withdraw stops offering a namespace, and waits until no stream reads it.
func (u *Upstream) Withdraw(namespace string) { u.drop(namespace, errWithdrawn) }

func (u *Upstream) drop(namespace string, why error) {
	if p := u.take(namespace); p != nil {
		p.end(why)
	}
}

// take removes a namespace's pursuit from the list; nil: there is none.
func (u *Upstream) take(namespace string) *pursuit {
	u.mu.Lock()
	defer u.mu.Unlock()
	i := slices.IndexFunc(u.pursuits, func(p *pursuit) bool { return p.namespace == namespace })
	if i < 0 {
		return nil
	}
	p := u.pursuits[i]
	u.pursuits = slices.Delete(u.pursuits, i, i+1)
	return p
}

// pursue adds a pursuit that prepare completes, and starts it if the upstream runs.
func (u *Upstream) pursue(namespace string, prepare func(*pursuit)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ctx.Err() != nil || u.pursuitLocked(namespace) != nil {
		return
	}
	p := &pursuit{namespace: namespace, hurry: make(chan struct{}, 1)}
	p.ctx, p.cancel = context.WithCancelCause(u.ctx)
	prepare(p)
	u.pursuits = append(u.pursuits, p)
	if u.started {
		p.wg.Go(func() { u.keep(p) })
	}
}

func (u *Upstream) pursuitLocked(namespace string) *pursuit {
	for _, p := range u.pursuits {
		if p.namespace == namespace {
			return p
		}
	}
	return nil
}

// all are the pursuits of the moment.
func (u *Upstream) all() []*pursuit {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.pursuits)
}

// end ends a pursuit and waits until nothing of it runs.
func (p *pursuit) end(why error) {
	p.cancel(why)
	p.wg.Wait()
	if p.sink != nil {
		p.sink.Wait()
	}
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
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.started || u.ctx.Err() != nil {
		return
	}
	u.started = true
	for _, p := range u.pursuits {
		p.wg.Go(func() { u.keep(p) })
	}
}

var (
	errClosed     = refuseForNow(CodeShuttingDown, "this node stops following")
	errUnfollowed = refuseForNow(CodeShuttingDown, "this node doesn't follow the namespace from here any more")
	errWithdrawn  = refuseForNow(CodeShuttingDown, "this node doesn't offer the namespace here any more")
)

// Close stops following and waits until nothing of it runs.
func (u *Upstream) Close() error {
	u.mu.Lock()
	u.cancel(errClosed) // from here on nothing is added
	u.mu.Unlock()
	u.source.Interrupt()
	for _, p := range u.all() {
		p.wg.Wait()
	}
	err := u.closeConns()
	for _, p := range u.all() {
		p.end(errClosed)
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
	u.mu.Lock()
	defer u.mu.Unlock()
	p := u.pursuitLocked(namespace)
	if p == nil {
		return
	}
	select {
	case p.hurry <- struct{}{}:
	default: // it hurries already
	}
}

// Owner is what is known of the owner of a namespace; zero where it isn't followed.
func (u *Upstream) Owner(namespace string) OwnerReport {
	for _, p := range u.all() {
		if p.namespace == namespace && p.sink != nil {
			return p.sink.Owner()
		}
	}
	return OwnerReport{}
}

// Status says how each followed namespace does, in the order in which they came.
func (u *Upstream) Status() []SinkStatus {
	var out []SinkStatus
	for _, p := range u.all() {
		if p.sink != nil {
			out = append(out, p.sink.Status())
		}
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

// keep makes one stream after the other until the pursuit ends.
func (u *Upstream) keep(p *pursuit) {
	log := u.o.Logger.With("namespace", p.namespace)
	b := backoff{n: len(u.conns), rand: u.o.Rand}
	home := homing{wait: homeFirst, rand: u.o.Rand}
	patience := cutOffFirst
	var said string
	for held := p.sink != nil; p.ctx.Err() == nil; {
		held = held || u.hold(p.namespace)
		address := u.o.Addresses[b.address]
		progress, back, err := u.try(p, b.address, home.after(), patience)
		if p.ctx.Err() != nil {
			return
		}
		if back != nil {
			log.Info("an earlier address of the upstream can be reached again", "upstream", u.o.NameOf(address), "address", u.o.Addresses[*back])
			b.address = *back
			continue
		}
		if progress && errors.Is(err, errNextStream) {
			continue
		}
		var cut *cutOff
		if errors.As(err, &cut) {
			patience = cut.patience(patience)
		}
		home.left(b.address, progress)
		if p.sink != nil {
			p.sink.Note(address, err)
		}
		// One line for each new reason: an upstream that is away for a night doesn't fill the log.
		if reason := fmt.Sprint(err); progress || reason != said {
			log.Warn("replication stream ended", "upstream", u.o.NameOf(address), "address", address, "error", err)
			said = reason
		}
		select {
		case <-time.After(b.next(progress, err == nil || asRefusal(err).Retryable)):
		case <-p.hurry:
		case <-p.ctx.Done():
		}
	}
}

// HoldName is the name under which the log of a namespace that is offered is held for the
// upstream, by dbkernel's HoldFor, across restarts and whichever address takes it.
const HoldName = "upstream"

// hold has the log of a namespace that is offered kept for the upstream, before that one
// was ever reached. It reports whether it is.
func (u *Upstream) hold(namespace string) bool {
	log, err := u.o.Store.Open(namespace)
	return err == nil && holdFor(u.o.Logger, namespace, log, HoldName, 0)
}

// connectPatience is how long an attempt waits for a connection where there
// are other addresses. The connection is worked on meanwhile, so that one that takes
// longer is there when its address has its turn again.
const connectPatience = 500 * time.Millisecond

// try makes one attempt; when it returns, its stream is cut. back, if not nil, is an
// earlier address that can be reached, for which the stream was given up.
func (u *Upstream) try(p *pursuit, i int, homeAfter, cutOffAfter time.Duration) (progress bool, back *int, err error) {
	ctx, cancel := context.WithCancelCause(p.ctx)
	defer cancel(nil)
	patience := helloTimeout
	if len(u.conns) > 1 {
		patience = connectPatience
	}
	connecting := time.AfterFunc(patience, func() {
		cancel(refuseForNow(CodeUnavailable, "no stream to %s within %v", u.o.Addresses[i], patience))
	})
	if i > 0 {
		p.wg.Go(func() { u.lookHome(ctx, cancel, i, homeAfter) })
	}
	if p.sink != nil && len(u.conns) > 1 {
		p.wg.Go(func() { u.watchSource(ctx, cancel, p.sink, i, cutOffAfter) })
	}
	client := dbv1.NewReplicationClient(firstContact{u.conns[i], connecting})
	progress, err = p.attempt(ctx, cancel, client, i)
	var found *reachable
	if errors.As(context.Cause(ctx), &found) {
		return progress, &found.address, nil
	}
	var cut *cutOff
	if errors.As(context.Cause(ctx), &cut) {
		return progress, nil, cut
	}
	return progress, nil, refusalOf(err)
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
