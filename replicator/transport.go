package replicator

import (
	"context"
	"net"
	"time"

	"google.golang.org/grpc"
	grpcbackoff "google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
)

// Settings of connections, for both ends.
const (
	// streamWindow is what one stream may have under way; it bounds what a slow
	// namespace makes either end keep.
	streamWindow = 1 << 20
	connWindow   = 4 << 20

	keepaliveTime    = 10 * time.Second // silence after which the other end is asked for a sign of life
	keepaliveTimeout = 5 * time.Second  // and how long it may take
	keepaliveMinTime = 5 * time.Second  // how often a server lets itself be asked

	connectTimeout    = 3 * time.Second // of one attempt
	reconnectMaxDelay = 3 * time.Second
)

// ServerOptions are what a gRPC server needs to be the other end of an
// Upstream's connections.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(MaxMessageBytes),
		grpc.MaxSendMsgSize(MaxMessageBytes),
		grpc.InitialWindowSize(streamWindow),
		grpc.InitialConnWindowSize(connWindow),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveMinTime, PermitWithoutStream: true}),
	}
}

// connect prepares a connection; it is made when it is first used. The address
// goes to the dialler as it is, so that a name is looked up again at each attempt and no
// proxy comes between nodes.
func connect(address string, dial func(context.Context, string) (net.Conn, error), creds credentials.TransportCredentials) (*grpc.ClientConn, error) {
	reconnect := grpcbackoff.DefaultConfig
	reconnect.BaseDelay, reconnect.MaxDelay = backoffFirst, reconnectMaxDelay
	return grpc.NewClient("passthrough:///"+address,
		grpc.WithContextDialer(dial),
		grpc.WithTransportCredentials(creds),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: reconnect, MinConnectTimeout: connectTimeout}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.WithInitialWindowSize(streamWindow),
		grpc.WithInitialConnWindowSize(connWindow),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessageBytes), grpc.MaxCallSendMsgSize(MaxMessageBytes)),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
	)
}
