package replicatortest

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/test/bufconn"
)

// Network connects nodes in memory and breaks on demand.
type Network struct {
	// Delay is how long each write is under way; nil: no time. Set before use.
	Delay func() time.Duration
	// Rate is how many bytes a second come to the dialling end of a connection;
	// 0: any number. Set before use.
	Rate int

	mu        sync.Mutex
	listeners map[string]*bufconn.Listener
	conns     map[*conn]struct{}
	stalled   map[string]bool
	changed   chan struct{} // closed and replaced when stalled changes
}

// NewNetwork makes a network without nodes.
func NewNetwork() *Network {
	return &Network{
		listeners: make(map[string]*bufconn.Listener), conns: make(map[*conn]struct{}),
		stalled: make(map[string]bool), changed: make(chan struct{}),
	}
}

// Listen makes a node reachable under an address, until the listener is closed.
func (n *Network) Listen(address string) net.Listener {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := bufconn.Listen(256 << 10)
	n.listeners[address] = l
	return l
}

// Dial connects to an address.
func (n *Network) Dial(ctx context.Context, address string) (net.Conn, error) {
	n.mu.Lock()
	l := n.listeners[address]
	n.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("nobody listens at %q", address)
	}
	inner, err := l.DialContext(ctx)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: inner, network: n, address: address, closed: make(chan struct{})}
	n.mu.Lock()
	n.conns[c] = struct{}{}
	n.mu.Unlock()
	return c, nil
}

// Cut closes all connections to an address; new ones can be made.
func (n *Network) Cut(address string) {
	n.mu.Lock()
	var cut []*conn
	for c := range n.conns {
		if c.address == address {
			cut = append(cut, c)
		}
	}
	n.mu.Unlock()
	for _, c := range cut {
		// The other end sees the end of the stream; an error only says that it was closed before.
		_ = c.Close()
	}
}

// Stall makes connections to an address swallow everything, or go on.
func (n *Network) Stall(address string, stalled bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stalled[address] = stalled
	close(n.changed)
	n.changed = make(chan struct{})
}

// conn is the dialling end of a connection; all faults are at this end.
type conn struct {
	net.Conn
	network *Network
	address string
	once    sync.Once
	closed  chan struct{}
}

func (c *conn) Write(b []byte) (int, error) {
	if err := c.pass(); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if passErr := c.pass(); passErr != nil {
		return 0, passErr
	}
	if rate := c.network.Rate; rate > 0 {
		time.Sleep(time.Duration(n) * time.Second / time.Duration(rate))
	}
	return n, err
}

// pass waits for as long as bytes are under way.
func (c *conn) pass() error {
	if d := c.network.Delay; d != nil {
		time.Sleep(d())
	}
	for {
		c.network.mu.Lock()
		stalled, changed := c.network.stalled[c.address], c.network.changed
		c.network.mu.Unlock()
		if !stalled {
			return nil
		}
		select {
		case <-changed:
		case <-c.closed:
			return net.ErrClosed
		}
	}
}

func (c *conn) Close() error {
	c.once.Do(func() { close(c.closed) })
	c.network.mu.Lock()
	delete(c.network.conns, c)
	c.network.mu.Unlock()
	return c.Conn.Close()
}
