package datamodel

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/unisondb/unisondb/sdk/internal/serve"
	"github.com/unisondb/unisondb/sdk/plugin"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// Program is a whole data model: all that its main function says.
type Program struct {
	plugin.Info
	// Config is a struct that describes the configuration and holds its defaults, as
	// plugin.SchemaOf says; nil: it takes none.
	Config  any
	Model   Model
	Methods []Method
}

// Serve is the life of a data model's process: a main function calls it and
// nothing else. It returns when the node has hung up; started by hand, it says
// what the program is and exits.
func Serve(p Program) {
	serve.Run(Key, func(logger hclog.Logger) (*serve.Service, func(*goplugin.GRPCBroker, *grpc.Server), error) {
		s, err := newServer(p, logger)
		if err != nil {
			return nil, nil, err
		}
		return s.Service, func(b *goplugin.GRPCBroker, g *grpc.Server) {
			s.dial = func(id uint32) (*grpc.ClientConn, error) { return b.Dial(id) }
			s.register(g)
		}, nil
	})
}

// NewServer makes the gRPC server that Serve would serve, for tests in the same
// process: dial connects to the service View. stop does what the node's hanging up
// does.
func NewServer(p Program, logger hclog.Logger, dial func(brokerID uint32) (*grpc.ClientConn, error)) (g *grpc.Server, stop func(context.Context) error, err error) {
	s, err := newServer(p, logger)
	if err != nil {
		return nil, nil, err
	}
	s.dial = dial
	g = serve.NewServer(logger)
	s.register(g)
	return g, s.Close, nil
}

// server serves a data model.
type server struct {
	*serve.Service
	pluginv1.UnimplementedDataModelServer

	model   Model
	methods map[string]Method
	dial    func(brokerID uint32) (*grpc.ClientConn, error)

	mu    sync.Mutex
	conn  *grpc.ClientConn // to the service View
	views Views
}

func newServer(p Program, logger hclog.Logger) (*server, error) {
	s := &server{model: p.Model, methods: map[string]Method{}}
	d := &pluginv1.DescribeResponse{
		Name: p.Name, Kind: pluginv1.Kind_KIND_DATA_MODEL, Version: p.Version, Description: p.Description,
	}
	for _, m := range p.Methods {
		if _, twice := s.methods[m.Name]; twice || m.Name == "" {
			return nil, fmt.Errorf("the method %q is there twice, or has no name", m.Name)
		}
		s.methods[m.Name] = m
		d.Methods = append(d.Methods, &pluginv1.Method{Name: m.Name, Writes: m.Writes, Description: m.Description})
	}
	var err error
	s.Service, err = serve.NewService(d, p.Config, author{s}, logger)
	return s, err
}

func (s *server) register(g *grpc.Server) {
	pluginv1.RegisterPluginServer(g, s.Service)
	pluginv1.RegisterDataModelServer(g, s)
}

// author is a Model as the base sees it.
type author struct{ s *server }

// Configure implements serve.Author.
func (a author) Configure(ctx context.Context, c plugin.Config, r *pluginv1.ConfigureRequest) error {
	conn, err := a.s.dial(r.GetViewBrokerId())
	if err != nil {
		return fmt.Errorf("connect to the node's views: %w", err)
	}
	views := remoteViews{pluginv1.NewViewClient(conn)}
	if err := a.s.model.Configure(ctx, c, views); err != nil {
		return errors.Join(err, conn.Close())
	}
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	a.s.conn, a.s.views = conn, views
	return nil
}

// Close implements serve.Author.
func (a author) Close(ctx context.Context) error {
	err := a.s.model.Close(ctx)
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	if closing := a.s.conn.Close(); err == nil && closing != nil {
		err = fmt.Errorf("hang up on the node's views: %w", closing)
	}
	return err
}

// view is the view of a namespace that a call gets.
func (s *server) view(namespace string) View {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.views.View(namespace)
}
