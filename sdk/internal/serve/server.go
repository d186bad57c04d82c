package serve

import (
	"context"
	"runtime/debug"
	"strings"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/unisondb/unisondb/sdk/plugin"
)

// maxStack is what is logged of a panic's stack, in bytes: a node cuts off lines
// that are longer than a few thousand.
const maxStack = 2000

// NewServer makes the gRPC server of a plugin. A call that panics is an error in
// the log, with its stack, and to the node; the process goes on.
func NewServer(logger hclog.Logger, options ...grpc.ServerOption) *grpc.Server {
	caught := func(ctx context.Context, r any, i *grpc.UnaryServerInfo, next grpc.UnaryHandler) (answer any, err error) {
		defer func() {
			if p := recover(); p != nil {
				logger.Error("the plugin panicked", "method", i.FullMethod, "panic", p, "stack", stack())
				err = status.Errorf(codes.Internal, "the plugin panicked: %v: its log has the stack", p)
			}
		}()
		return next(ctx, r)
	}
	return grpc.NewServer(append([]grpc.ServerOption{
		grpc.ChainUnaryInterceptor(caught),
		grpc.MaxRecvMsgSize(plugin.MaxMessageSize),
		grpc.MaxSendMsgSize(plugin.MaxMessageSize),
	}, options...)...)
}

// stack is where a panic came from, without the frames of catching it.
func stack() string {
	s := string(debug.Stack())
	if _, behind, ok := strings.Cut(s, "\npanic("); ok {
		s = "panic(" + behind
	}
	return s[:min(len(s), maxStack)]
}
