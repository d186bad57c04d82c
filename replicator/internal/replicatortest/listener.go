package replicatortest

import (
	"context"
	"io"
	"net"
	"sync"
	"time"
)

// pipeBytes is what may be under way in each direction of a connection.
const pipeBytes = 256 << 10

// listener accepts connections that are made in memory. gRPC's bufconn would do, but sets timers that fire at
// once: where two goroutines of a synctest bubble do that at the same time, Go 1.26's race detector crashes.
type listener struct {
	address  string
	incoming chan net.Conn
	closed   chan struct{}
	once     sync.Once
}

func newListener(address string) *listener {
	return &listener{address: address, incoming: make(chan net.Conn), closed: make(chan struct{})}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.incoming:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. Connections stay.
func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return address(l.address) }

// dial makes a connection, once it is accepted.
func (l *listener) dial(ctx context.Context) (net.Conn, error) {
	up, down := newPipe(), newPipe()
	select {
	case l.incoming <- &pipeConn{in: up, out: down, address: address(l.address)}:
		return &pipeConn{in: down, out: up, address: address(l.address)}, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type address string

func (address) Network() string  { return "memory" }
func (a address) String() string { return string(a) }

// pipeConn is one end of a connection. It has no deadlines: gRPC's server sets one for the
// handshake, which the dialling end here ends by itself.
type pipeConn struct {
	in, out *pipe
	address address
}

func (c *pipeConn) Read(b []byte) (int, error)       { return c.in.read(b) }
func (c *pipeConn) Write(b []byte) (int, error)      { return c.out.write(b) }
func (c *pipeConn) LocalAddr() net.Addr              { return c.address }
func (c *pipeConn) RemoteAddr() net.Addr             { return c.address }
func (c *pipeConn) SetDeadline(time.Time) error      { return nil }
func (c *pipeConn) SetReadDeadline(time.Time) error  { return nil }
func (c *pipeConn) SetWriteDeadline(time.Time) error { return nil }

// Close ends both directions. The other end reads what is under way first.
func (c *pipeConn) Close() error {
	c.in.abandon()
	c.out.finish()
	return nil
}

// pipe is one direction.
type pipe struct {
	mu        sync.Mutex
	changed   *sync.Cond
	under     []byte // bytes under way
	finished  bool   // nothing more is written
	abandoned bool   // nobody reads
}

func newPipe() *pipe {
	p := &pipe{}
	p.changed = sync.NewCond(&p.mu)
	return p
}

func (p *pipe) read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.under) == 0 && !p.finished && !p.abandoned {
		p.changed.Wait()
	}
	switch {
	case p.abandoned:
		return 0, io.ErrClosedPipe
	case len(p.under) == 0:
		return 0, io.EOF
	}
	n := copy(b, p.under)
	if p.under = p.under[n:]; len(p.under) == 0 {
		p.under = nil
	}
	p.changed.Broadcast()
	return n, nil
}

func (p *pipe) write(b []byte) (written int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		for len(p.under) >= pipeBytes && !p.finished && !p.abandoned {
			p.changed.Wait()
		}
		if p.finished || p.abandoned {
			return written, io.ErrClosedPipe
		}
		n := min(len(b), pipeBytes-len(p.under))
		p.under = append(p.under, b[:n]...)
		written, b = written+n, b[n:]
		p.changed.Broadcast()
		if len(b) == 0 {
			return written, nil
		}
	}
}

func (p *pipe) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.finished = true
	p.changed.Broadcast()
}

func (p *pipe) abandon() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.abandoned, p.under = true, nil
	p.changed.Broadcast()
}
