package serve

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/unisondb/unisondb/sdk/plugin"
)

// closeTimeout is how long a plugin may take to close when the node has hung up
// without draining it.
const closeTimeout = 5 * time.Second

// Build makes the services of a program: register adds them to a gRPC server.
type Build func(hclog.Logger) (s *Service, register func(*goplugin.GRPCBroker, *grpc.Server), err error)

// Run is the life of a plugin's process: it serves until the node hangs up, and
// ends at once when the node is no more. key is the kind's in go-plugin's sets.
func Run(key string, build Build) {
	parent := os.Getppid()
	logger := newLogger(os.Stderr)
	service, register, err := build(logger)
	if err != nil {
		fmt.Fprintf(os.Stderr, "this plugin can't be served, which is a mistake in its program: %v\n", err)
		os.Exit(1)
	}
	if os.Getenv(plugin.Handshake.MagicCookieKey) != plugin.Handshake.MagicCookieValue {
		fmt.Fprint(os.Stderr, byHand(service.Description()))
		os.Exit(2)
	}
	captureLogs(logger)
	// Whoever stops a service may signal all of its processes: when a plugin ends is the
	// node's decision, which drains it first. go-plugin catches the interrupt.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM, syscall.SIGHUP)
	go exitWithParent(parent)

	goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig: plugin.Handshake,
		VersionedPlugins: map[int]goplugin.PluginSet{
			plugin.Version1: {key: registered{register: register}},
		},
		GRPCServer: func(options []grpc.ServerOption) *grpc.Server { return NewServer(logger, options...) },
		Logger:     logger.Named("go-plugin"),
	})

	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := service.Close(ctx); err != nil {
		logger.Error("the plugin didn't close cleanly", "error", err)
	}
}

// registered is the plugin's side of go-plugin's GRPCPlugin.
type registered struct {
	goplugin.NetRPCUnsupportedPlugin
	register func(*goplugin.GRPCBroker, *grpc.Server)
}

// GRPCServer implements goplugin.GRPCPlugin.
func (r registered) GRPCServer(b *goplugin.GRPCBroker, s *grpc.Server) error {
	r.register(b, s)
	return nil
}

// GRPCClient implements goplugin.GRPCPlugin, whose other side is the node's.
func (registered) GRPCClient(context.Context, *goplugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, plugin.ErrWrongSide
}
