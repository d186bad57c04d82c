package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/unisondb/unisondb/server"
	"github.com/unisondb/unisondb/server/config"
)

// shutdownGrace is how long requests under way may go on when a node stops.
const shutdownGrace = 30 * time.Second

// lifecycle is what server.Node and server.Dev have in common.
type lifecycle interface {
	Start(ctx context.Context) error
	Failed() <-chan error
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

func newServerNode(c config.Config, o server.Options) (lifecycle, error) { return server.New(c, o) }

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

// loadConfig reads the files that -config names.
func (m *Meta) loadConfig(paths []string, role string, dev bool) (*config.Config, error) {
	cfg, err := config.Load(paths, config.LoadOptions{Dev: dev, Role: role, Env: m.env})
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
func (m *Meta) runNode(log hclog.Logger, n lifecycle, started func() error) error {
	signals, stop := m.notify(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	r := &nodeRun{log: log, node: n, signals: signals}
	if err := r.start(); err != nil {
		return err
	}
	err := started()
	if err == nil {
		err = r.wait()
	}
	return errors.Join(err, r.shutdown())
}

var errKilled = errors.New("stopped at once by a second signal: the node recovers at its next start")

// nodeRun is a node while its process runs.
type nodeRun struct {
	log     hclog.Logger
	node    lifecycle
	signals <-chan os.Signal
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
			case r.hangup(s):
			case interrupted:
				return errKilled
			default:
				r.log.Info("stopping before the start is complete", "signal", s.String())
				interrupted = true
				cancel()
			}
		}
	}
}

// wait returns when the node is to stop, with an error if it failed by itself.
func (r *nodeRun) wait() error {
	for {
		select {
		case err := <-r.node.Failed():
			return err
		case s := <-r.signals:
			if r.hangup(s) {
				continue
			}
			r.log.Info("stopping; a second signal stops at once", "signal", s.String())
			return nil
		}
	}
}

// shutdown stops the node, until a signal says that it takes too long.
func (r *nodeRun) shutdown() error {
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
			if !r.hangup(s) {
				return errKilled
			}
		}
	}
}

// hangup deals with SIGHUP, which asks to read the configuration again.
func (r *nodeRun) hangup(s os.Signal) bool {
	if s != syscall.SIGHUP {
		return false
	}
	r.log.Warn("SIGHUP ignored: reading the configuration again isn't built in this version; restart the node to apply changes")
	return true
}

// count is "1 problem", "2 problems".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
