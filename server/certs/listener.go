package certs

import (
	"context"
	"errors"
	"net"
	"sync"
)

// http1 is the protocol of the HTTP door.
const http1 = "http/1.1"

// Listener secures what l accepts, for HTTP/1.1: its connections come with the
// handshake done. Close closes l and ends the handshakes that are under way.
func (s *Store) Listener(l net.Listener) net.Listener {
	t := &listener{Listener: l, store: s, ready: make(chan accepted)}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.wg.Go(t.run)
	return t
}

// listener does each handshake in a goroutine of its own, so that nobody waits for
// one who dawdles.
type listener struct {
	net.Listener
	store *Store
	ready chan accepted

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// accepted is a connection that is up, or why no more come.
type accepted struct {
	conn net.Conn
	err  error
}

func (t *listener) run() {
	for {
		raw, err := t.Listener.Accept()
		if err != nil {
			if !t.deliver(accepted{err: err}) || errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		t.wg.Go(func() {
			conn, err := t.store.accept(t.ctx, raw, http1)
			if err == nil && !t.deliver(accepted{conn: conn}) {
				_ = raw.Close() // nobody takes it any more
			}
		})
	}
}

// deliver hands a connection to Accept, unless the listener is closed.
func (t *listener) deliver(a accepted) bool {
	select {
	case t.ready <- a:
		return true
	case <-t.ctx.Done():
		return false
	}
}

// Accept implements net.Listener.
func (t *listener) Accept() (net.Conn, error) {
	select {
	case a := <-t.ready:
		return a.conn, a.err
	case <-t.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (t *listener) Close() error {
	t.cancel()
	err := t.Listener.Close()
	t.wg.Wait()
	return err
}
