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

	// serverReadBuffer is small because followers say little, and a connection with TLS
	// has one of its own whether it is idle or not. Nor is a table of headers worth its
	// memory, where a connection has a handful of streams.
	serverReadBuffer = 4 << 10

	keepaliveTime    = 10 * time.Second // silence after which the other end is asked for a sign of life
	keepaliveTimeout = 5 * time.Second  // and how long it may take
	// acceptedTimeout is how long it may take at the end that was dialled: there
	// the answer may stand behind all that is under way to a slow follower.
	acceptedTimeout  = 30 * time.Second
	keepaliveMinTime = 5 * time.Second // how often a server lets itself be asked

	connectTimeout    = 5 * time.Second // of one attempt
	reconnectMaxDelay = time.Second
)

// ServerOptions are what a gRPC server needs to be the other end of an
// Upstream's connections.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(Codec()),
		grpc.ReadBufferSize(serverReadBuffer),
		grpc.HeaderTableSize(0),
		grpc.MaxRecvMsgSize(MaxMessageBytes),
		grpc.MaxSendMsgSize(MaxMessageBytes),
		grpc.InitialWindowSize(streamWindow),
		grpc.InitialConnWindowSize(connWindow),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveTime, Timeout: acceptedTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveMinTime, PermitWithoutStream: true}),
	}
}

// connect prepares a connection; it is made when it is first used. The address
// goes to the dialler as it is, so that a name is looked up again at each attempt and no
// proxy comes between nodes.
func connect(address string, dial func(context.Context, string) (net.Conn, error), creds credentials.TransportCredentials, perRPC credentials.PerRPCCredentials) (*grpc.ClientConn, error) {
	reconnect := grpcbackoff.DefaultConfig
	reconnect.BaseDelay, reconnect.MaxDelay = backoffFirst, reconnectMaxDelay
	options := []grpc.DialOption{
		grpc.WithContextDialer(dial),
		grpc.WithTransportCredentials(creds),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: reconnect, MinConnectTimeout: connectTimeout}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout, PermitWithoutStream: true}),
		grpc.WithInitialWindowSize(streamWindow),
		grpc.WithInitialConnWindowSize(connWindow),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(Codec()), grpc.MaxCallRecvMsgSize(MaxMessageBytes), grpc.MaxCallSendMsgSize(MaxMessageBytes)),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
	}
	if perRPC != nil {
		options = append(options, grpc.WithPerRPCCredentials(perRPC))
	}
	return grpc.NewClient("passthrough:///"+address, options...)
}
