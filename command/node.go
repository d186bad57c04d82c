package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/unisondb/unisondb/server"
	"github.com/unisondb/unisondb/server/config"
	"github.com/unisondb/unisondb/server/heap"
)

// shutdownGrace is how long requests under way may go on when a node stops.
const shutdownGrace = 30 * time.Second

// reloadHelp says in the help of who runs a node what SIGHUP does.
const reloadHelp = "SIGHUP, as well as 'operator reload', has it read its configuration again."

// lifecycle is what server.Node and server.Dev have in common.
type lifecycle interface {
	Start(ctx context.Context) error
	Failed() <-chan error
	// Reload reads the configuration again; an error means that nothing has changed.
	Reload(ctx context.Context) (changed []string, err error)
	// Summary is how it does, in a line; a node that hangs doesn't answer. It is called after Start.
	Summary() string
	Shutdown(ctx context.Context) error
}

// devGroup is a development group, as far as the command line shows it.
type devGroup interface {
	lifecycle
	addresses() (hub server.Addresses, relayers []server.Addresses)
	dir() string
}

// A nodeFactory and a devFactory are how commands make nodes, and tests fakes.
type (
	nodeFactory func(config.Config, server.Options) (lifecycle, error)
	devFactory  func(server.DevOptions) (devGroup, error)
)

func newServerNode(c config.Config, o server.Options) (lifecycle, error) {
	heap.SetFloor(min(heap.MaxFloor, uint64(c.MemoryLimit)/8)) // a small device has no memory to spare
	return server.New(c, o)
}

func newServerDev(o server.DevOptions) (devGroup, error) {
	d, err := server.NewDev(o)
	return serverDev{d}, err
}

type serverDev struct{ *server.Dev }

func (d serverDev) addresses() (hub server.Addresses, relayers []server.Addresses) {
	for _, r := range d.Relayers() {
		relayers = append(relayers, r.Addresses())
	}
	return d.Hub().Addresses(), relayers
}

func (d serverDev) dir() string { return d.Dir() }

// reloadConfig is how a node reads its files again.
func (m *Meta) reloadConfig(paths []string, role string, dev bool) func() (*config.Config, error) {
	return func() (*config.Config, error) {
		return config.Load(paths, config.LoadOptions{Dev: dev, Role: role, Env: m.env})
	}
}

// loadConfig reads the files that -config names.
func (m *Meta) loadConfig(paths []string, role string, dev bool) (*config.Config, error) {
	cfg, err := m.reloadConfig(paths, role, dev)()
	var invalid *config.Error
	if errors.As(err, &invalid) {
		return nil, fmt.Errorf("the configuration has %s:\n  %s",
			count(len(invalid.Diagnostics), "problem"), strings.ReplaceAll(invalid.Error(), "\n", "\n  "))
	}
	return cfg, err
}

// logger makes the node's logger, and that of the libraries.
func (m *Meta) logger(c config.Log) hclog.Logger {
	l := newLogger(m.stderr, c)
	captureStandardLog(l)
	return l
}

// runNode runs a node from start to stop: until SIGINT or SIGTERM, or until it
// fails. After a second signal it returns at once and leaves the node behind,
// for the process to end.
func (m *Meta) runNode(log hclog.Logger, manager *serviceManager, n lifecycle, started func() error) error {
	signals, stop := m.notify(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	r := &nodeRun{log: log, manager: manager, node: n, signals: signals}
	err := r.run(started)
	manager.close()
	if !errors.Is(err, errKilled) {
		r.reloads.Wait()
		manager.wait()
	}
	return err
}

var errKilled = errors.New("stopped at once by a second signal: the node recovers at its next start")

// nodeRun is a node while its process runs.
type nodeRun struct {
	log     hclog.Logger
	manager *serviceManager
	node    lifecycle
	signals <-chan os.Signal
	// hungUp says that SIGHUP came before the node had started.
	hungUp  bool
	reloads sync.WaitGroup
}

// run starts the node, waits until it is to stop, and stops it.
func (r *nodeRun) run(started func() error) error {
	r.manager.starting()
	if err := r.start(); err != nil {
		return err
	}
	r.manager.started(r.node.Summary)
	err := started()
	if err == nil {
		err = r.wait()
	}
	return errors.Join(err, r.shutdown())
}

// start starts the node, and gives up at the first signal.
func (r *nodeRun) start() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- r.node.Start(ctx) }()
	interrupted := false
	for {
		select {
		case err := <-done:
			if interrupted && err == nil {
				err = r.shutdown()
			}
			if !interrupted {
				return err
			}
			if errors.Is(err, context.Canceled) { // our own doing
				err = nil
			}
			return errors.Join(errors.New("stopped before it had started"), err)
		case s := <-r.signals:
			switch {
			case s == syscall.SIGHUP:
				r.hungUp = true
			case interrupted:
				return errKilled
			default:
				r.log.Info("stopping before the start is complete", "signal", s.String())
				r.manager.stops()
				interrupted = true
				cancel()
			}
		}
	}
}

// wait returns when the node is to stop, with an error if it failed by itself.
func (r *nodeRun) wait() error {
	if r.hungUp {
		r.reload()
	}
	for {
		select {
		case err := <-r.node.Failed():
			return err
		case s := <-r.signals:
			if s == syscall.SIGHUP {
				r.reload()
				continue
			}
			r.log.Info("stopping; a second signal stops at once", "signal", s.String())
			return nil
		}
	}
}

// shutdown stops the node, until a signal says that it takes too long.
func (r *nodeRun) shutdown() error {
	r.manager.stops()
	ctx, cancel := context.WithTimeout(context.Background(), shutdownGrace)
	done := make(chan error, 1)
	go func() {
		defer cancel()
		done <- r.node.Shutdown(ctx)
	}()
	for {
		select {
		case err := <-done:
			if err == nil {
				r.log.Info("stopped")
			}
			return err
		case s := <-r.signals:
			if s != syscall.SIGHUP { // nothing is read on the way out
				return errKilled
			}
		}
	}
}

// reload has the node read its configuration again, while other signals are heard.
// The node logs what has become of it.
func (r *nodeRun) reload() {
	r.reloads.Go(func() { _, _ = r.node.Reload(context.Background()) })
}

// count is "1 problem", "2 problems".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
