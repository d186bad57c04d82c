package notifier

import (
	"context"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/unisondb/unisondb/sdk/internal/serve"
	"github.com/unisondb/unisondb/sdk/plugin"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// Program is a whole notifier: all that its main function says.
type Program struct {
	plugin.Info
	// Config is a struct that describes the configuration and holds its defaults, as
	// plugin.SchemaOf says; nil: it takes none.
	Config   any
	Notifier Notifier
	// FireAndForget says that whatever comes is accepted, and that the receivers
	// don't expect what they missed: the node keeps no durable cursor.
	FireAndForget bool
}

// Serve is the life of a notifier's process: a main function calls it and
// nothing else. It returns when the node has hung up; started by hand, it says
// what the program is and exits.
func Serve(p Program) {
	serve.Run(Key, func(logger hclog.Logger) (*serve.Service, func(*goplugin.GRPCBroker, *grpc.Server), error) {
		s, err := newServer(p, logger)
		if err != nil {
			return nil, nil, err
		}
		return s.Service, func(_ *goplugin.GRPCBroker, g *grpc.Server) { s.register(g) }, nil
	})
}

// NewServer makes the gRPC server that Serve would serve, for tests in the same
// process. stop does what the node's hanging up does.
func NewServer(p Program, logger hclog.Logger) (g *grpc.Server, stop func(context.Context) error, err error) {
	s, err := newServer(p, logger)
	if err != nil {
		return nil, nil, err
	}
	g = serve.NewServer(logger)
	s.register(g)
	return g, s.Close, nil
}

// server serves a notifier.
type server struct {
	*serve.Service
	pluginv1.UnimplementedNotifierServer

	notifier Notifier
}

func newServer(p Program, logger hclog.Logger) (*server, error) {
	d := &pluginv1.DescribeResponse{
		Name: p.Name, Kind: pluginv1.Kind_KIND_NOTIFIER, Version: p.Version,
		Description: p.Description, FireAndForget: p.FireAndForget,
	}
	s, err := serve.NewService(d, p.Config, author{p.Notifier}, logger)
	return &server{Service: s, notifier: p.Notifier}, err
}

func (s *server) register(g *grpc.Server) {
	pluginv1.RegisterPluginServer(g, s.Service)
	pluginv1.RegisterNotifierServer(g, s)
}

// author is a Notifier as the base sees it.
type author struct{ Notifier }

// Configure implements serve.Author.
func (a author) Configure(ctx context.Context, c plugin.Config, _ *pluginv1.ConfigureRequest) error {
	return a.Notifier.Configure(ctx, c)
}

// Notify implements the service Notifier.
func (s *server) Notify(ctx context.Context, r *pluginv1.NotifyRequest) (*pluginv1.NotifyResponse, error) {
	leave, err := s.Enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	result, err := s.notifier.Notify(ctx, BatchOf(r))
	if err != nil {
		return nil, serve.Status(err)
	}
	return result.encode(len(r.GetEvents()))
}
