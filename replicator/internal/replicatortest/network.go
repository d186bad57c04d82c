package replicatortest

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

// Network connects nodes in memory and breaks on demand.
type Network struct {
	// Delay is how long each write is under way; nil: no time. Set before use.
	Delay func() time.Duration
	// Rate is how many bytes a second come to the dialling end of a connection;
	// 0: any number. Set before use.
	Rate int

	mu        sync.Mutex
	listeners map[string]*listener
	conns     map[*conn]struct{}
	blocked   map[way]bool
	changed   chan struct{} // closed and replaced when blocked changes
}

// way is one direction between two nodes; "" stands for any.
type way struct{ from, to string }

// NewNetwork makes a network without nodes.
func NewNetwork() *Network {
	return &Network{
		listeners: make(map[string]*listener), conns: make(map[*conn]struct{}),
		blocked: make(map[way]bool), changed: make(chan struct{}),
	}
}

// Listen makes a node reachable under an address, until the listener is closed.
func (n *Network) Listen(address string) net.Listener {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := newListener(address)
	n.listeners[address] = l
	return l
}

// Dial connects to an address, from a node without a name.
func (n *Network) Dial(ctx context.Context, address string) (net.Conn, error) {
	return n.dial(ctx, "nobody", address)
}

// Dialler dials from the node that listens at an address.
func (n *Network) Dialler(from string) func(ctx context.Context, address string) (net.Conn, error) {
	return func(ctx context.Context, address string) (net.Conn, error) { return n.dial(ctx, from, address) }
}

func (n *Network) dial(ctx context.Context, from, address string) (net.Conn, error) {
	for _, w := range []way{{from, address}, {address, from}} {
		if err := n.pass(w, ctx.Done()); err != nil {
			return nil, ctx.Err()
		}
	}
	n.mu.Lock()
	l := n.listeners[address]
	n.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("nobody listens at %q", address)
	}
	inner, err := l.dial(ctx)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: inner, network: n, from: from, to: address, closed: make(chan struct{}), lost: make(chan struct{})}
	n.mu.Lock()
	n.conns[c] = struct{}{}
	n.mu.Unlock()
	return c, nil
}

// Cut closes all connections of a node; new ones can be made.
func (n *Network) Cut(node string) {
	n.cut(func(c *conn) bool { return c.to == node || c.from == node })
}

// CutBetween closes all connections between two nodes; new ones can be made.
func (n *Network) CutBetween(a, b string) {
	n.cut(between(a, b))
}

// ForgetBetween has all connections between two nodes carry nothing any more, and
// say nothing of it, as when a NAT between them was restarted; new ones can be made.
func (n *Network) ForgetBetween(a, b string) {
	for _, c := range n.those(between(a, b)) {
		c.forget.Do(func() { close(c.lost) })
	}
}

func between(a, b string) func(*conn) bool {
	return func(c *conn) bool { return c.from == a && c.to == b || c.from == b && c.to == a }
}

func (n *Network) those(which func(*conn) bool) (conns []*conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		if which(c) {
			conns = append(conns, c)
		}
	}
	return conns
}

func (n *Network) cut(which func(*conn) bool) {
	for _, c := range n.those(which) {
		// The other end sees the end of the stream; an error only says that it was closed before.
		_ = c.Close()
	}
}

// Stall makes everything to and from a node wait, or go on. What is sent
// meanwhile arrives late.
func (n *Network) Stall(node string, stalled bool) {
	n.Block(node, "", stalled)
	n.Block("", node, stalled)
}

// Block makes everything that one node sends another wait, or go on. "" stands
// for any node.
func (n *Network) Block(from, to string, blocked bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if blocked {
		n.blocked[way{from, to}] = true
	} else {
		delete(n.blocked, way{from, to})
	}
	n.wakeLocked()
}

// Heal lets everything go on.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.blocked)
	n.wakeLocked()
}

func (n *Network) wakeLocked() {
	close(n.changed)
	n.changed = make(chan struct{})
}

// pass waits until a way is free, or gives up.
func (n *Network) pass(w way, gaveUp <-chan struct{}) error {
	for {
		select {
		case <-gaveUp: // before all else: what a closed connection held back never arrives
			return net.ErrClosed
		default:
		}
		n.mu.Lock()
		blocked := n.blocked[w] || n.blocked[way{w.from, ""}] || n.blocked[way{"", w.to}]
		changed := n.changed
		n.mu.Unlock()
		if !blocked {
			return nil
		}
		select {
		case <-changed:
		case <-gaveUp:
			return net.ErrClosed
		}
	}
}

// conn is the dialling end of a connection; all faults are at this end.
type conn struct {
	net.Conn
	network  *Network
	from, to string
	once     sync.Once
	closed   chan struct{}
	forget   sync.Once
	lost     chan struct{} // closed when nothing comes through any more
}

func (c *conn) Write(b []byte) (int, error) {
	if err := c.travel(way{c.from, c.to}); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// packetBytes is how much arrives at once where the rate is limited.
const packetBytes = 1400

func (c *conn) Read(b []byte) (int, error) {
	rate := c.network.Rate
	if rate > 0 {
		b = b[:min(len(b), packetBytes)]
	}
	n, err := c.Conn.Read(b)
	if passErr := c.travel(way{c.to, c.from}); passErr != nil {
		return 0, passErr
	}
	if rate > 0 {
		if waitErr := c.wait(time.Duration(n) * time.Second / time.Duration(rate)); waitErr != nil {
			return 0, waitErr
		}
	}
	return n, err
}

// travel waits for as long as bytes are under way.
func (c *conn) travel(w way) error {
	if d := c.network.Delay; d != nil {
		if err := c.wait(d()); err != nil {
			return err
		}
	}
	if err := c.network.pass(w, c.closed); err != nil {
		return err
	}
	select {
	case <-c.lost:
		<-c.closed
		return net.ErrClosed
	default:
		return nil
	}
}

// wait waits unless the connection is closed, which ends everything on it at once.
func (c *conn) wait(d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-c.closed:
		return net.ErrClosed
	}
}

func (c *conn) Close() error {
	c.once.Do(func() { close(c.closed) })
	c.network.mu.Lock()
	delete(c.network.conns, c)
	c.network.mu.Unlock()
	return c.Conn.Close()
}
