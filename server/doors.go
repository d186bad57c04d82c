package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"

	"github.com/unisondb/unisondb/server/config"
	"github.com/unisondb/unisondb/server/httpapi"
	"github.com/unisondb/unisondb/server/rpcapi"
)

// listen opens a door's port.
func listen(ctx context.Context, kind string, l *config.Listener) (net.Listener, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", l.Address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("listener %q: %s is taken by another process: stop that one, or choose another address (%w)", kind, l.Address, err)
	case err != nil:
		return nil, fmt.Errorf("listener %q: can't listen on %s: %w: check the address", kind, l.Address, err)
	}
	return ln, nil
}

// startRPC opens the gRPC door.
func (n *Node) startRPC(ctx context.Context) error {
	if n.cfg.GRPC == nil {
		return nil
	}
	ln, err := listen(ctx, "grpc", n.cfg.GRPC)
	if err != nil {
		return err
	}
	n.rpc = rpcapi.New(rpcapi.Options{NodeID: n.ID(), Store: n.store(), Logger: n.log.Named("rpc"), Owner: n.ownerReport,
		Credentials: n.secrets.listenerCredentials(), Authorize: n.authorize(),
		Acks: &n.acks, Compression: n.cfg.Replication.Compression,
		SnapshotBytesPerSecond: n.cfg.Replication.SnapshotBytesPerSecond, FollowerBytesPerSecond: n.cfg.Replication.FollowerBytesPerSecond})
	n.addresses.GRPC = ln.Addr().String()
	n.wg.Go(func() {
		if err := n.rpc.Serve(ln); err != nil {
			n.fail(fmt.Errorf("listener \"grpc\" broke: %w: restart the node", err))
		}
	})
	n.onStop("the gRPC door", n.rpc.Shutdown)
	if store := n.secrets.grpc; store != nil {
		n.onStop("the gRPC door's handshakes", func(context.Context) error { store.Interrupt(); return nil })
	}
	return nil
}

// startHTTP opens the HTTP door. It comes last: who reaches it finds a node
// that serves.
func (n *Node) startHTTP(ctx context.Context) error {
	if n.cfg.HTTP == nil {
		return nil
	}
	o := httpapi.Options{
		Node: n, Plugins: n.plugins, Logger: n.log.Named("http"), BackupDir: n.path("backups"),
		Observe: func(o httpapi.Observation) { n.metrics.Request(o.Route, o.Method, o.Status, o.Took) },
	}
	if n.cfg.Telemetry.Prometheus {
		o.Metrics = n.metrics.Handler()
	}
	ln, err := listen(ctx, "http", n.cfg.HTTP)
	if err != nil {
		return err
	}
	ln = n.secrets.secure(ln)
	n.api = httpapi.New(o)
	n.addresses.HTTP = ln.Addr().String()
	srv := httpapi.NewServer(n.api, n.log.Named("http"))
	n.wg.Go(func() {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			n.fail(fmt.Errorf("listener \"http\" broke: %w: restart the node", err))
		}
	})
	n.onStop("the HTTP door", func(ctx context.Context) error { return n.stopHTTP(ctx, srv) })
	return nil
}

// stopHTTP refuses new requests and lets those under way end, until ctx ends:
// then their connections are cut, and they are told so by their contexts.
func (n *Node) stopHTTP(ctx context.Context, srv *httpapi.Server) error {
	n.api.Drain()
	err := srv.Shutdown(ctx)
	if err != nil {
		n.log.Warn("requests are cut off: they took longer than the time to stop", "error", err)
		err = srv.Close()
	}
	n.api.Wait()
	return err
}
