package replicator_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/replicator"
	"github.com/unisondb/unisondb/replicator/internal/replicatortest"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const ns = "default"

var lineage = dbkernel.Lineage{7}

// node is an owner or a relayer: a store, a gRPC door, and upstreams.
type node struct {
	t         *testing.T
	id        string
	network   *replicatortest.Network
	store     *replicatortest.Store
	heartbeat time.Duration
	clock     func() time.Time
	accept    func(string) bool // nil: nothing is
	acks      *replicator.Acks  // nil: the source's own

	server   *grpc.Server
	source   *replicator.Source
	acceptor *replicator.Acceptor
	serving  sync.WaitGroup
	upstream *replicator.Upstream

	owns      atomic.Bool
	following atomic.Pointer[replicator.Upstream]
}

func newNode(t *testing.T, network *replicatortest.Network, id string) *node {
	return &node{t: t, id: id, network: network, store: replicatortest.NewStore(hash(id)), heartbeat: 100 * time.Millisecond, clock: time.Now}
}

func hash(s string) (h uint64) {
	for _, c := range s {
		h = h*31 + uint64(c)
	}
	return h
}

// serve opens the node's door at its id.
func (n *node) serve() { n.serveFrom(n.store) }

func (n *node) serveFrom(store replicator.Store) {
	n.source = replicator.NewSource(replicator.SourceOptions{NodeID: n.id, Store: store, Clock: n.clock, Heartbeat: n.heartbeat, Owner: n.ownerReport, Acks: n.acks})
	n.acceptor = replicator.NewAcceptor(replicator.AcceptorOptions{NodeID: n.id, Store: n.store, Clock: n.clock, Accept: n.acceptance})
	n.server = grpc.NewServer(replicator.ServerOptions()...)
	dbv1.RegisterReplicationServer(n.server, replicator.NewService(n.source, n.acceptor))
	l := n.network.Listen(n.id)
	n.serving.Go(func() {
		if err := n.server.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			n.t.Errorf("%s: serve: %v", n.id, err)
		}
	})
}

// ownerReport is what the node tells those who follow it.
func (n *node) ownerReport(string) replicator.OwnerReport {
	if u := n.following.Load(); u != nil {
		return u.Owner(ns)
	}
	if n.owns.Load() {
		return replicator.OwnerReport{NodeID: n.id}
	}
	return replicator.OwnerReport{}
}

// follow starts following the namespace from the given addresses.
func (n *node) follow(addresses ...string) {
	n.start(replicator.UpstreamOptions{Addresses: addresses, Namespaces: []string{ns}})
}

func (n *node) start(o replicator.UpstreamOptions) {
	n.t.Helper()
	r := rand.New(rand.NewPCG(hash(n.id), 5))
	var mu sync.Mutex
	o.Name, o.NodeID, o.Store, o.Dial, o.Clock, o.Heartbeat = "up", n.id, n.store, n.network.Dialler(n.id), n.clock, n.heartbeat
	o.Rand = func() float64 {
		mu.Lock()
		defer mu.Unlock()
		return r.Float64()
	}
	u, err := replicator.NewUpstream(o)
	if err != nil {
		n.t.Fatal(err)
	}
	n.upstream = u
	n.following.Store(u)
	u.Start()
}

// stop ends everything of the node but its store.
func (n *node) stop() {
	if n.upstream != nil {
		if err := n.upstream.Close(); err != nil {
			n.t.Errorf("%s: close: %v", n.id, err)
		}
		n.upstream = nil
		n.following.Store(nil)
	}
	if n.server != nil {
		n.source.Interrupt()
		n.acceptor.Interrupt()
		n.server.Stop()
		n.serving.Wait()
		n.source.Close()
		n.acceptor.Close()
		n.server = nil
	}
}

func (n *node) log() *replicatortest.Log { return n.store.Log(ns) }

// status is how following the namespace goes.
func (n *node) status() replicator.SinkStatus { return n.upstream.Status()[0] }

// await waits until ok, polling in virtual time.
func (n *node) await(what string, ok func() bool) {
	n.t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			st := "no upstream"
			if n.upstream != nil {
				st = fmt.Sprintf("%+v", n.upstream.Status())
			}
			n.t.Fatalf("%s: waited in vain: %s; %s", n.id, what, st)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// awaitEqual waits until the node has committed what owner has, byte for byte.
func (n *node) awaitEqual(owner *replicatortest.Log) {
	n.t.Helper()
	want := owner.Status().CommitLSN
	n.await(fmt.Sprintf("LSN %d", want), func() bool { return n.log() != nil && n.log().Status().CommitLSN >= want })
	for lsn := uint64(1); lsn <= want; lsn++ {
		if string(n.log().Get(lsn)) != string(owner.Get(lsn)) {
			n.t.Fatalf("%s: LSN %d differs", n.id, lsn)
		}
	}
	if got, want := fmt.Sprint(n.log().EpochTable()), fmt.Sprint(owner.EpochTable()); got != want {
		n.t.Fatalf("%s: epochs %s, the owner's are %s", n.id, got, want)
	}
}

// ownerLog makes the owner's log in the node's store.
func (n *node) ownerLog() *replicatortest.Log {
	l := n.store.Add(ns, lineage)
	n.owns.Store(true)
	l.StartEpoch(1)
	return l
}

func payload(i int) []byte { return fmt.Appendf(nil, "record %d", i) }

func write(l *replicatortest.Log, n int) {
	for i := range n {
		l.Write(payload(i))
	}
}

// windDown lets gRPC's own goroutines end, which nobody can wait for; in virtual time.
func windDown() { time.Sleep(time.Minute) }

// raw opens a stream of Follow whose messages the test says itself.
func (n *node) raw(address string) (dbv1.Replication_FollowClient, func()) {
	n.t.Helper()
	client, ctx, done := n.client(address)
	stream, err := client.Follow(ctx)
	if err != nil {
		n.t.Fatal(err)
	}
	return stream, done
}

// rawOffer is raw for Offer.
func (n *node) rawOffer(address string) (dbv1.Replication_OfferClient, func()) {
	n.t.Helper()
	client, ctx, done := n.client(address)
	stream, err := client.Offer(ctx)
	if err != nil {
		n.t.Fatal(err)
	}
	return stream, done
}

// client connects to an address; the function cuts the connection and the context.
func (n *node) client(address string) (dbv1.ReplicationClient, context.Context, func()) {
	n.t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithContextDialer(n.network.Dial), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	return dbv1.NewReplicationClient(conn), ctx, func() {
		cancel()
		if err := conn.Close(); err != nil {
			n.t.Error(err)
		}
	}
}

// errorInfo is the code that a gRPC error carries.
func errorInfo(err error) string {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetDomain() == "unisondb" {
			return info.GetReason()
		}
	}
	return ""
}

// acceptance says why the node doesn't take what is offered.
func (n *node) acceptance(_ context.Context, nodeID, namespace string, _ dbkernel.Lineage) error {
	if n.accept != nil && n.accept(namespace) {
		return nil
	}
	return fmt.Errorf("namespace %q isn't taken from %q in this test", namespace, nodeID)
}
