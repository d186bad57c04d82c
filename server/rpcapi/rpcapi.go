// Package rpcapi is a node's gRPC door: replication, what hubs offer to each other and to
// relayers, health and reflection.
package rpcapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/replicator"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// Options configure a Server. Zero fields that aren't required have defaults.
type Options struct {
	NodeID string           // required
	Store  replicator.Store // required
	Logger hclog.Logger     // silent by default
	// AcceptOffer says why a namespace isn't taken from a node that dialled this one;
	// nil: none is. PeerOf knows who it is.
	AcceptOffer func(ctx context.Context, nodeID, namespace string, lineage dbkernel.Lineage) error
	// Hubs and Control are what a hub offers to others of its group, and to relayers; nil: nothing.
	Hubs    dbv1.HubsServer
	Control dbv1.ControlServer
	// Credentials secure the listener; nil: plain TCP.
	Credentials credentials.TransportCredentials
	// Clock is what heartbeats carry; nil: time.Now.
	Clock func() time.Time
	// Heartbeat is how often a stream says something at least; 0: replicator.DefaultHeartbeat.
	Heartbeat time.Duration
	// Owner says what is known of a namespace's owner; nil: this node owns everything.
	Owner func(namespace string) replicator.OwnerReport
	// Authorize says why a node must not follow a namespace; nil: every node may follow
	// all. PeerOf knows who it is.
	Authorize func(ctx context.Context, nodeID, namespace string) error
	// Acks is told what followers make durable; nil: one that nobody asks.
	Acks *replicator.Acks
	// Compression is replicator.CompressionZstd, which is also what "" means, or CompressionNone.
	Compression string
	// SnapshotBytesPerSecond bounds what snapshots and repairs send together, and
	// FollowerBytesPerSecond the records that one node is sent; 0: no bound.
	SnapshotBytesPerSecond, FollowerBytesPerSecond int64
}

// Server is the gRPC door.
type Server struct {
	grpc     *grpc.Server
	health   *health.Server
	source   *replicator.Source
	acceptor *replicator.Acceptor
}

// MaxAnswerBytes bounds a message that a hub answers another one. What it sees of thousands of
// relayers is much longer than what anybody may send it.
const MaxAnswerBytes = 64 << 20

// connectTimeout is how long a connection may take to be set up.
const connectTimeout = 5 * time.Second

// New makes a server that isn't listening yet.
func New(o Options) *Server {
	if o.Credentials == nil {
		o.Credentials = insecure.NewCredentials()
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	s := &Server{
		grpc: grpc.NewServer(append(replicator.ServerOptions(),
			grpc.Creds(o.Credentials),
			grpc.ConnectionTimeout(connectTimeout),
			grpc.MaxSendMsgSize(MaxAnswerBytes),
		)...),
		health: health.NewServer(),
		source: replicator.NewSource(replicator.SourceOptions{
			NodeID: o.NodeID, Store: o.Store, Logger: o.Logger.Named("source"), Clock: o.Clock, Heartbeat: o.Heartbeat, Owner: o.Owner, Authorize: o.Authorize,
			Acks: o.Acks, Compression: o.Compression, FollowerBytesPerSecond: o.FollowerBytesPerSecond,
			SnapshotRate: replicator.NewSnapshotRate(o.SnapshotBytesPerSecond),
		}),
		acceptor: replicator.NewAcceptor(replicator.AcceptorOptions{
			NodeID: o.NodeID, Store: o.Store, Logger: o.Logger.Named("sink"), Clock: o.Clock, Accept: o.AcceptOffer,
		}),
	}
	dbv1.RegisterReplicationServer(s.grpc, replicator.NewService(s.source, s.acceptor))
	if o.Hubs != nil {
		dbv1.RegisterHubsServer(s.grpc, o.Hubs)
	}
	if o.Control != nil {
		dbv1.RegisterControlServer(s.grpc, o.Control)
	}
	healthv1.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc)
	s.SetServing(true)
	return s
}

// SetServing tells health checks whether the node is ready, which is what they
// hear at first.
func (s *Server) SetServing(serving bool) {
	status := healthv1.HealthCheckResponse_NOT_SERVING
	if serving {
		status = healthv1.HealthCheckResponse_SERVING
	}
	s.health.SetServingStatus("", status)
	s.health.SetServingStatus(dbv1.Replication_ServiceDesc.ServiceName, status)
}

// Serve answers connections of l until Shutdown; it then returns nil. It may
// be called for several listeners.
func (s *Server) Serve(l net.Listener) error {
	if err := s.grpc.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

// shutdownGrace is how long streams may take to say goodbye.
const shutdownGrace = time.Second

// Shutdown takes no more streams, ends those that are up and waits for them.
// Streams whose other end doesn't read are cut after a moment, which they have even when
// ctx has ended. An error says that something of the door still runs although it
// was cut, ctx has ended and a moment has passed.
func (s *Server) Shutdown(ctx context.Context) error {
	s.health.Shutdown()
	s.source.Interrupt()
	s.acceptor.Interrupt()
	graceful := make(chan struct{})
	go func() {
		s.grpc.GracefulStop()
		close(graceful)
	}()
	grace := time.NewTimer(shutdownGrace)
	defer grace.Stop()
	select {
	case <-graceful:
	case <-grace.C:
	}
	s.grpc.Stop()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		<-graceful
		s.source.Close()
		s.acceptor.Close()
	}()
	return awaitEnd(ctx, ended)
}

// awaitEnd waits until ended is closed, or ctx has ended and a moment has passed.
func awaitEnd(ctx context.Context, ended <-chan struct{}) error {
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	}
	last := time.NewTimer(shutdownGrace)
	defer last.Stop()
	select {
	case <-ended:
		return nil
	case <-last.C:
		return fmt.Errorf("replication streams hang, although their connections are cut: %w; the node's log may say why", ctx.Err())
	}
}

// Followers says who follows this node's namespaces, and how far they are.
func (s *Server) Followers() []replicator.FollowerStatus { return s.source.Followers() }

// SentBytes says what was sent for snapshots and repairs, by namespace.
func (s *Server) SentBytes() map[string]replicator.SentBytes { return s.source.SentBytes() }

// ReceivedOwner is what is known of the owner of a namespace that another node has offered.
func (s *Server) ReceivedOwner(namespace string) replicator.OwnerReport {
	return s.acceptor.Owner(namespace)
}

// Drop ends the streams of a namespace that other nodes offer, and waits for them.
func (s *Server) Drop(namespace string) { s.acceptor.Drop(namespace) }

// Received says how the namespaces do that other nodes have offered to this one.
func (s *Server) Received() []replicator.SinkStatus { return s.acceptor.Status() }
