// Package server is the node: one process's kernel, doors and replication,
// started in order and stopped in the reverse. It is the only place where the
// floors meet.
package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/dbkernel/vfs"
	"github.com/unisondb/unisondb/replicator"
	"github.com/unisondb/unisondb/server/config"
	"github.com/unisondb/unisondb/server/httpapi"
	"github.com/unisondb/unisondb/server/internal/control"
	"github.com/unisondb/unisondb/server/internal/forward"
	"github.com/unisondb/unisondb/server/internal/metrics"
	"github.com/unisondb/unisondb/server/internal/placement"
	"github.com/unisondb/unisondb/server/pluginhost"
	"github.com/unisondb/unisondb/server/rpcapi"
	"github.com/unisondb/unisondb/server/topology"
)

// Role is what a node does with the namespaces that it has.
type Role string

// The roles of a node.
const (
	// RoleHub owns its namespaces and accepts writes.
	RoleHub Role = config.RoleHub
	// RoleRelayer follows upstreams and serves local reads.
	RoleRelayer Role = config.RoleRelayer
)

// Options are what a node takes besides its configuration.
type Options struct {
	Role    Role
	Logger  hclog.Logger // silent by default
	Version string       // shown in status and metrics
	// Load reads the configuration again, for Reload. nil: there are no files to read.
	Load func() (*config.Config, error)
	// Reloading is told that a reload begins, and the function that it returns what has become of it.
	// nil: nobody wants to know.
	Reloading func() (ended func(error))
	// ForwardHold is how long a request waits for another hub that takes it; 0: 10 s.
	ForwardHold time.Duration
}

// Addresses are where a running node listens, ports resolved. An empty one is off.
type Addresses struct {
	HTTP string // host:port
	GRPC string // host:port
}

// Node is a hub or a relayer. Its exported methods may be called concurrently.
type Node struct {
	cfg     config.Config
	role    Role
	version string
	log     hclog.Logger
	fs      vfs.FS
	load    func() (*config.Config, error)
	// reloads is told of each reload.
	reloads func() (ended func(error))
	hold    time.Duration // of requests for another hub
	// kernelClock is what the data goes by; nil: the machine's.
	kernelClock func() time.Time
	// groupStores take the place of raft/ in the data directory, for tests; nil: nothing does.
	groupStores *topology.Stores

	metrics *metrics.Metrics
	failed  chan error

	// life orders Start and Shutdown; stops undo what was started, the last first.
	life    sync.Mutex
	started bool
	stopped bool
	stops   []step
	wg      sync.WaitGroup // the doors' goroutines

	placing *placement.Reconciler

	// Set by Start before the doors open, and not changed afterwards.
	db        *dbkernel.DB
	peers     *peers
	forwarder *forward.Forwarder  // of a hub; nil on a relayer
	group     *topology.Group     // of a hub; nil on a relayer
	desk      *control.Desk       // of a hub with a gRPC door
	attending *control.Attendance // of a relayer
	plugins   *pluginhost.Host
	api       *httpapi.API
	rpc       *rpcapi.Server
	rpcSocket net.Listener // of the gRPC door
	addresses Addresses

	// reloading is held while the configuration is read again. It guards loaded, the
	// configuration as it is in force, and running, which ends when reloads have to.
	reloading sync.Mutex
	loaded    config.Config
	running   context.Context

	places places
	links  links
	// poked has room for one: there may be something to tell the group.
	poked chan struct{}

	names   namespaces
	catalog catalog
	acks    replicator.Acks // of all who follow this node
	secrets secrets
}

// step is one thing that was started, with how it is stopped.
type step struct {
	name string
	stop func(context.Context) error
}

// New checks that the configuration can be run by this version. It touches
// nothing on disk and opens no port.
func New(cfg config.Config, o Options) (*Node, error) {
	if o.Role != RoleHub && o.Role != RoleRelayer {
		return nil, fmt.Errorf("unknown role %q: use %q or %q", o.Role, RoleHub, RoleRelayer)
	}
	if cfg.DataDir == "" {
		return nil, errors.New("data_dir is missing: name the directory where the node keeps its data")
	}
	if err := errors.Join(cfg.NotBuilt()...); err != nil {
		return nil, err
	}
	if err := errors.Join(cfg.HTTP.CheckExposure("http"), cfg.GRPC.CheckExposure("grpc"), cfg.Raft.CheckExposure(cfg.GRPC)); err != nil {
		return nil, err
	}
	if o.Role == RoleRelayer && (cfg.Relayer == nil || len(cfg.Relayer.Upstreams) == 0) {
		return nil, errors.New(`a relayer needs a relayer block with an upstream: name the hub to follow in it, or start this node by "unisondb server"`)
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.Reloading == nil {
		o.Reloading = func() func(error) { return func(error) {} }
	}
	n := &Node{
		cfg: cfg, role: o.Role, version: o.Version, log: o.Logger, fs: vfs.OS(), load: o.Load, reloads: o.Reloading, hold: o.ForwardHold,
		failed: make(chan error, 1), loaded: cfg, poked: make(chan struct{}, 1),
	}
	n.links.node = n
	n.placing = placement.New(n, n.log.Named("placement"))
	n.catalog.changed = make(chan struct{}, 1)
	n.metrics = metrics.New(n.collect)
	n.names.node = n
	return n, nil
}

// Start brings the node up and returns when it serves. After an error everything
// that had been started is stopped again.
func (n *Node) Start(ctx context.Context) error {
	n.life.Lock()
	defer n.life.Unlock()
	if n.started || n.stopped {
		return errors.New("the node was started before: make another one by New")
	}
	n.started = true
	for _, start := range []func(context.Context) error{
		n.startCerts, n.startKernel, n.startNamespaces, n.listenRPC, n.startPeers, n.startGroup, n.openAttendance, n.startOwned, n.startReplication,
		n.startPlugins, n.startRequests, n.startRPC, n.startPlacement, n.startHTTP, n.startTour, n.startHandOver,
	} {
		err := ctx.Err()
		if err == nil {
			err = start(ctx)
		}
		if err != nil {
			return errors.Join(err, n.giveUp(ctx))
		}
	}
	if n.rpc != nil {
		n.rpc.SetServing(true)
	}
	n.log.Info("node serves", "role", n.role, "node_id", n.ID(), "version", n.version, "data_dir", n.cfg.DataDir,
		"http", n.addresses.HTTP, "grpc", n.addresses.GRPC)
	return nil
}

// giveUp undoes a start that failed, also one that failed because ctx ended.
func (n *Node) giveUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), failedStartGrace)
	defer cancel()
	return n.stopLocked(ctx)
}

// failedStartGrace is how long what runs already may take to end.
const failedStartGrace = 5 * time.Second

// onStop notes how to undo what a start step has done.
func (n *Node) onStop(name string, stop func(context.Context) error) {
	n.stops = append(n.stops, step{name, stop})
}

// Failed delivers the error of a door that broke after Start; nothing else
// ends a running node but Shutdown.
func (n *Node) Failed() <-chan error { return n.failed }

func (n *Node) fail(err error) {
	select {
	case n.failed <- err:
	default: // the first one is what counts
	}
}

// Shutdown drains and stops the node. It may be called at any time and more than
// once. When ctx ends, requests that are still running are cut off; the data is closed
// properly in any case.
func (n *Node) Shutdown(ctx context.Context) error {
	n.life.Lock()
	defer n.life.Unlock()
	return n.stopLocked(ctx)
}

func (n *Node) stopLocked(ctx context.Context) error {
	if n.stopped {
		return nil
	}
	n.stopped = true
	if len(n.stops) > 0 {
		n.log.Info("node stops")
	}
	var errs []error
	for _, s := range slices.Backward(n.stops) {
		if err := s.stop(ctx); err != nil {
			n.log.Error("stopping failed", "step", s.name, "error", err)
			errs = append(errs, fmt.Errorf("stopping %s: %w", s.name, err))
		}
	}
	n.wg.Wait()
	if len(n.stops) > 0 {
		n.log.Info("node stopped")
	}
	return errors.Join(errs...)
}

// Addresses may be called after Start.
func (n *Node) Addresses() Addresses { return n.addresses }

// ID is the node's name, as its data directory has it. It may be called after Start.
func (n *Node) ID() string { return n.names.nodeID() }

// path is a place in the data directory.
func (n *Node) path(name ...string) string {
	return filepath.Join(append([]string{n.cfg.DataDir}, name...)...)
}
