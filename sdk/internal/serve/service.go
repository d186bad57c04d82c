// Package serve is what the kinds of plugins have in common on the plugin's
// side: the service Plugin, the gRPC server around it, the log, and the end of
// the process.
package serve

import (
	"context"
	"errors"
	"reflect"
	"sync"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/unisondb/unisondb/sdk/plugin"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// Author is what the author of a plugin wrote, of whatever kind.
type Author interface {
	Configure(ctx context.Context, c plugin.Config, r *pluginv1.ConfigureRequest) error
	Close(ctx context.Context) error
}

// Service serves Plugin: it describes, configures once, and drains once. The
// services of a kind ask it for leave for each call.
type Service struct {
	pluginv1.UnimplementedPluginServer

	description *pluginv1.DescribeResponse
	defaults    any
	author      Author
	logger      hclog.Logger

	mu         sync.Mutex
	state      state
	configured bool          // the author's part is, and is to be closed
	running    int           // calls that were let in, Configure included
	idle       chan struct{} // closed once it is draining and no call runs
	closing    sync.Once
	closeErr   error
}

// state is how far a plugin is. It only rises.
type state int

const (
	fresh state = iota
	configuring
	ready
	draining
)

// NewService makes a service. The schema of the defaults becomes part of the
// description.
func NewService(d *pluginv1.DescribeResponse, defaults any, a Author, logger hclog.Logger) (*Service, error) {
	schema, err := plugin.SchemaOf(defaults)
	if err != nil {
		return nil, err
	}
	d.Config = schema
	return &Service{description: d, defaults: defaults, author: a, logger: logger, idle: make(chan struct{})}, nil
}

// Description is what Describe answers.
func (s *Service) Description() *pluginv1.DescribeResponse { return s.description }

// Describe implements the service Plugin.
func (s *Service) Describe(context.Context, *pluginv1.DescribeRequest) (*pluginv1.DescribeResponse, error) {
	return s.description, nil
}

// Configure implements the service Plugin. What the schema forbids doesn't reach
// the author.
func (s *Service) Configure(ctx context.Context, r *pluginv1.ConfigureRequest) (*pluginv1.ConfigureResponse, error) {
	if err := s.beginConfigure(); err != nil {
		return nil, err
	}
	defer s.leave()
	c := plugin.ConfigOf(r, s.logger)
	err := c.Decode(s.scratch())
	if err == nil {
		err = s.author.Configure(ctx, c, r)
	}
	var problems plugin.Problems
	switch {
	case errors.As(err, &problems):
		return &pluginv1.ConfigureResponse{Problems: encodeProblems(problems)}, nil
	case err != nil:
		return nil, Status(err)
	}
	s.endConfigure()
	return &pluginv1.ConfigureResponse{}, nil
}

func (s *Service) beginConfigure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != fresh {
		return status.Error(codes.FailedPrecondition, "the plugin was configured before, or is being stopped: a process is configured once")
	}
	s.state = configuring
	s.running++
	return nil
}

func (s *Service) endConfigure() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.configured = true
	if s.state == configuring {
		s.state = ready
	}
}

// scratch is a copy of the defaults to decode into, which shows what is wrong.
func (s *Service) scratch() any {
	if s.defaults == nil {
		return new(struct{})
	}
	v := reflect.Indirect(reflect.ValueOf(s.defaults))
	c := reflect.New(v.Type())
	c.Elem().Set(v)
	return c.Interface()
}

func encodeProblems(problems plugin.Problems) []*pluginv1.Problem {
	encoded := make([]*pluginv1.Problem, len(problems))
	for i, p := range problems {
		encoded[i] = &pluginv1.Problem{Path: p.Path, Message: p.Message}
	}
	return encoded
}

// Enter lets a call in, which calls leave at its end, or says why not.
func (s *Service) Enter() (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.state {
	case fresh, configuring:
		return nil, status.Error(codes.FailedPrecondition, "the plugin isn't configured: call Configure first")
	case draining:
		return nil, status.Error(codes.Unavailable, "the plugin is being stopped")
	}
	s.running++
	return s.leave, nil
}

func (s *Service) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	if s.state == draining && s.running == 0 {
		close(s.idle)
	}
}

// Drain implements the service Plugin.
func (s *Service) Drain(ctx context.Context, _ *pluginv1.DrainRequest) (*pluginv1.DrainResponse, error) {
	if err := s.Close(ctx); err != nil {
		return nil, Status(err)
	}
	return &pluginv1.DrainResponse{}, nil
}

// Close lets no call in any more, waits for those that run, and closes what the
// author wrote, once; where ctx ends first, it may be called again.
func (s *Service) Close(ctx context.Context) error {
	s.drain()
	select {
	case <-s.idle:
	case <-ctx.Done():
		return ctx.Err()
	}
	s.closing.Do(func() {
		if s.configured { // no call runs that could change it
			s.closeErr = s.author.Close(ctx)
		}
	})
	return s.closeErr
}

func (s *Service) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != draining && s.running == 0 {
		close(s.idle)
	}
	s.state = draining
}

// Status is an error as gRPC carries it. The author's error may wrap one of
// gRPC's, whose code then counts.
func Status(err error) error {
	if err == nil {
		return nil
	}
	if st, ok := status.FromError(err); ok {
		return st.Err()
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return status.FromContextError(err).Err()
	}
	return status.Error(codes.Unknown, err.Error())
}
