package httpapi_test

import (
	"context"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/replicator"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
	"github.com/unisondb/unisondb/server/httpapi"
	"github.com/unisondb/unisondb/server/internal/forward"
)

// throughAHub makes fixtures whose requests go to a hub that has no namespace, and passes
// them on.
var throughAHub atomic.Bool

// hubPort is where other hubs reach an API.
type hubPort struct {
	dbv1.UnimplementedHubsServer
	t       testing.TB
	address string
	server  *grpc.Server
	done    chan struct{}
	serve   func(dbv1.Hubs_ForwardServer) error
	streams atomic.Int64
}

func (p *hubPort) Forward(stream dbv1.Hubs_ForwardServer) error {
	p.streams.Add(1)
	return p.serve(stream)
}

// ownerHub is an API's port for other hubs.
func ownerHub(t testing.TB, api *httpapi.API) *hubPort {
	f := forward.New(forward.Options{NodeID: "hub-a"})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := f.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return newHubPort(t, func(stream dbv1.Hubs_ForwardServer) error { return f.Serve(stream, api) })
}

// newHubPort is a port of a hub that does what a test says.
func newHubPort(t testing.TB, serve func(dbv1.Hubs_ForwardServer) error) *hubPort {
	p := &hubPort{t: t, address: "127.0.0.1:0", serve: serve}
	p.start()
	t.Cleanup(p.stop)
	return p
}

func (p *hubPort) start() {
	ln, err := net.Listen("tcp", p.address)
	if err != nil {
		p.t.Fatal(err)
	}
	if p.server == nil && p.done == nil {
		p.address = ln.Addr().String()
	}
	p.server, p.done = grpc.NewServer(append(replicator.ServerOptions(), grpc.WaitForHandlers(true))...), make(chan struct{})
	dbv1.RegisterHubsServer(p.server, p)
	server, done := p.server, p.done
	go func() {
		defer close(done)
		_ = server.Serve(ln) // it ends by stop
	}()
}

func (p *hubPort) stop() {
	if p.server != nil {
		p.server.Stop()
		<-p.done
		p.server = nil
	}
}

// onePeer is a connection to one hub.
type onePeer struct{ dbv1.HubsClient }

func (p onePeer) Hubs(string) (dbv1.HubsClient, error) { return p.HubsClient, nil }

// forwarderConn is another hub's connection to a port.
func forwarderConn(t testing.TB, port *hubPort) dbv1.HubsClient {
	conn, err := grpc.NewClient("passthrough:///"+port.address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1.6, MaxDelay: 100 * time.Millisecond}}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return dbv1.NewHubsClient(conn)
}

// forwarderTo passes requests on to a hub. known says which namespaces it has.
func forwarderTo(t testing.TB, port *hubPort, hold time.Duration, known func(string) bool) *forward.Forwarder {
	return forward.New(forward.Options{NodeID: "hub-b", Peers: onePeer{forwarderConn(t, port)}, Hold: hold, Resolve: func(name string, _ bool) ([]forward.Target, error) {
		if !known(name) {
			return nil, forward.ErrNamespaceNotFound
		}
		return []forward.Target{{ID: "hub-a", Address: port.address}}, nil
	}})
}

func (f *fixture) knows(name string) bool {
	return slices.Contains(f.node.Names(), name) || f.node.refused[name] != nil
}

// frontWithout is a hub that has none of f's namespaces, as the test's requests find it. All
// else of it is f's.
func (f *fixture) frontWithout(port *hubPort, o fixtureOptions) *fixture {
	f.t.Helper()
	node := &fakeNode{db: f.node.db, owner: "hub-a"}
	node.absent.Store(true)
	node.elsewhere.Store(true)
	front := &fixture{t: f.t, node: node, api: httpapi.New(httpapi.Options{Node: node, Forwarder: forwarderTo(f.t, port, time.Minute, f.knows)})}
	if o.patience > 0 {
		front.api.SetPatience(o.patience)
	}
	front.listen(hclog.NewNullLogger())
	f.url, f.client = front.url, front.client
	return f
}

// pair is a hub, and the owner of its namespaces.
type pair struct {
	*fixture // the hub, which has a replica
	owner    *fixture
	port     *hubPort
}

// newPair makes two hubs with namespaces of the same names, of which each has another
// lineage: so an answer says who gave it.
func newPair(t *testing.T, hold time.Duration, opts ...func(*fixtureOptions)) *pair {
	t.Helper()
	owner := newFixture(t)
	p := &pair{owner: owner, port: ownerHub(t, owner.api)}
	p.fixture = newFixture(t, append(opts, func(o *fixtureOptions) {
		o.replica, o.forwarder = true, forwarderTo(t, p.port, hold, owner.knows)
	})...)
	p.node.elsewhere.Store(true)
	return p
}

// lineages are those of "default" here and at the owner.
func (p *pair) lineages() (here, owner dbkernel.Lineage) {
	return p.ns.Status().Lineage, p.owner.ns.Status().Lineage
}
