package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	grpcbackoff "google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/unisondb/unisondb/replicator"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
	"github.com/unisondb/unisondb/server/certs"
	"github.com/unisondb/unisondb/server/rpcapi"
)

// peers are connections to the gRPC listeners of other hubs, one for each address. It
// implements topology.Peers and forward.Peers. Its methods may be called concurrently.
type peers struct {
	creds credentials.TransportCredentials

	mu     sync.Mutex
	conns  map[string]*grpc.ClientConn // by address; nil: closed
	dials  sync.WaitGroup
	ctx    context.Context // of the dials
	cancel context.CancelFunc
}

// Settings of the connections. A hub that was away is found again soon, because writes wait
// for it; and one that is frozen is found out while they may.
const (
	peerFirstDelay = 50 * time.Millisecond
	peerMaxDelay   = time.Second
	peerConnect    = 5 * time.Second
	peerKeepalive  = 10 * time.Second // the least that listeners let themselves be asked
	peerSilence    = 5 * time.Second
	// peerIdle is after how long without a call a connection is let go of, so that a hub that
	// has left for good isn't dialled for ever.
	peerIdle = 5 * time.Minute
)

// newPeers makes no connection yet. creds secure them all; nil: they are plain.
func newPeers(creds credentials.TransportCredentials) *peers {
	p := &peers{creds: insecure.NewCredentials(), conns: map[string]*grpc.ClientConn{}}
	if creds != nil {
		p.creds = hubsOnly{creds}
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// startPeers prepares the connections to other hubs, which show the certificate of the gRPC listener.
func (n *Node) startPeers(context.Context) error {
	var creds credentials.TransportCredentials
	if n.secrets.grpc != nil {
		creds = n.secrets.grpc.ClientCredentials()
	}
	n.peers = newPeers(creds)
	n.onStop("the connections to other hubs", func(context.Context) error { return n.peers.Close() })
	return nil
}

// Hubs is the service of the hub at an address. It waits for no connection.
func (p *peers) Hubs(address string) (dbv1.HubsClient, error) {
	conn, err := p.conn(address)
	if err != nil {
		return nil, err
	}
	return dbv1.NewHubsClient(conn), nil
}

func (p *peers) conn(address string) (*grpc.ClientConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns == nil {
		return nil, errors.New("this hub stops")
	}
	if conn := p.conns[address]; conn != nil {
		return conn, nil
	}
	backoff := grpcbackoff.DefaultConfig
	backoff.BaseDelay, backoff.MaxDelay = peerFirstDelay, peerMaxDelay
	// The address goes to the dialler as it is, so that a name is looked up again at each
	// attempt and no proxy comes between hubs.
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithContextDialer(p.dial),
		grpc.WithTransportCredentials(p.creds),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff, MinConnectTimeout: peerConnect}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: peerKeepalive, Timeout: peerSilence}),
		grpc.WithIdleTimeout(peerIdle),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(rpcapi.MaxAnswerBytes), grpc.MaxCallSendMsgSize(replicator.MaxMessageBytes)),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
	)
	if err != nil {
		return nil, fmt.Errorf("the hub at %s can't be reached: %w: check its advertised address", address, err)
	}
	p.conns[address] = conn
	return conn, nil
}

// dial makes a connection, unless peers are closed.
func (p *peers) dial(ctx context.Context, address string) (net.Conn, error) {
	p.mu.Lock()
	if p.conns == nil {
		p.mu.Unlock()
		return nil, net.ErrClosed
	}
	p.dials.Add(1)
	p.mu.Unlock()
	defer p.dials.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)()
	return new(net.Dialer).DialContext(ctx, "tcp", address)
}

// Close ends all connections, and the calls that use them.
func (p *peers) Close() error {
	p.mu.Lock()
	conns := p.conns
	p.conns = nil
	p.mu.Unlock()
	p.cancel()
	var errs []error
	for _, conn := range conns {
		errs = append(errs, conn.Close())
	}
	p.dials.Wait()
	return errors.Join(errs...)
}

// hubsOnly are credentials of connections that lead to hubs: who shows the certificate of
// something else isn't given what is for a hub, whoever has signed it.
type hubsOnly struct {
	credentials.TransportCredentials
}

// ClientHandshake implements credentials.TransportCredentials.
func (c hubsOnly) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if err != nil {
		return nil, nil, err
	}
	tls, ok := info.(credentials.TLSInfo)
	if !ok || len(tls.State.PeerCertificates) == 0 {
		return nil, nil, errors.Join(errors.New("the other end shows no certificate"), conn.Close())
	}
	// One of another authority has at least the name that was dialled.
	if err := certs.HubOnly(tls.State.PeerCertificates[0], func(string) bool { return true }); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("no hub answers here: %w", err), conn.Close())
	}
	return conn, info, nil
}

// Clone implements credentials.TransportCredentials.
func (c hubsOnly) Clone() credentials.TransportCredentials {
	return hubsOnly{c.TransportCredentials.Clone()}
}
