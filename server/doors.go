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

// listenRPC takes the gRPC door's port, which others are told before the door opens.
func (n *Node) listenRPC(ctx context.Context) (err error) {
	if n.cfg.GRPC == nil {
		return nil
	}
	if n.rpcSocket, err = listen(ctx, "grpc", n.cfg.GRPC); err != nil {
		return err
	}
	n.addresses.GRPC = n.rpcSocket.Addr().String()
	n.onStop("the gRPC door's port", func(context.Context) error {
		if err := n.rpcSocket.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	return nil
}

// startRPC opens the gRPC door.
func (n *Node) startRPC(context.Context) error {
	defer n.onStop("the requests under way", n.endRequests) // before the door, which their answers leave by
	if n.cfg.GRPC == nil {
		return nil
	}
	o := rpcapi.Options{NodeID: n.ID(), Store: n.store(), Logger: n.log.Named("rpc"), Owner: n.ownerReport, Hubs: n.hubs(),
		Credentials: n.secrets.listenerCredentials(), Authorize: n.authorize(), AcceptOffer: n.acceptOffer,
		Acks: &n.acks, Compression: n.cfg.Replication.Compression,
		SnapshotBytesPerSecond: n.cfg.Replication.SnapshotBytesPerSecond, FollowerBytesPerSecond: n.cfg.Replication.FollowerBytesPerSecond}
	if n.startDesk() {
		o.Control = n.desk
	}
	n.rpc = rpcapi.New(o)
	n.wg.Go(func() {
		if err := n.rpc.Serve(n.rpcSocket); err != nil {
			n.fail(fmt.Errorf("listener \"grpc\" broke: %w: restart the node", err))
		}
	})
	n.onStop("the gRPC door", n.rpc.Shutdown)
	if n.desk != nil {
		n.onStop("the relayers' sessions", func(context.Context) error { n.desk.Interrupt(); return nil })
	}
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
	ln, err := listen(ctx, "http", n.cfg.HTTP)
	if err != nil {
		return err
	}
	ln = n.secrets.secure(ln)
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
	return err
}
