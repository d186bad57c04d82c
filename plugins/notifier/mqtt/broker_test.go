package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
	"go.uber.org/goleak"
)

// patience is a backstop: no test is meant to wait that long.
const patience = 2 * time.Minute

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// mochiBroker is a broker in this process that can be stopped and started again at
// its address, and that keeps what was published.
type mochiBroker struct {
	t       *testing.T
	address string
	tls     *tls.Config
	// capabilities changes what the broker offers, before start.
	capabilities func(*mochi.Capabilities)
	// login checks user and password; nil: anybody.
	login func(user, password string) bool
	// publish decides about a message; nil: all are taken.
	publish func(b *mochiBroker, cl *mochi.Client, p packets.Packet) error

	mu      sync.Mutex
	server  *mochi.Server // nil: it is stopped
	door    *door
	got     []published
	changed chan struct{} // closed at the next message
	clients []string      // client identifiers, in order of their connections
}

// published is a message that the broker took.
type published struct {
	Topic   string
	Payload string
	QoS     byte
	Retain  bool
}

// newMochi makes a broker, which is not started.
func newMochi(t *testing.T) *mochiBroker {
	t.Helper()
	return &mochiBroker{t: t, address: freeAddress(t), changed: make(chan struct{})}
}

// freeAddress is one at which nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	shut(t, l)
	return l.Addr().String()
}

func shut(t *testing.T, c io.Closer) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func startMochi(t *testing.T) *mochiBroker {
	t.Helper()
	b := newMochi(t)
	b.start()
	return b
}

// start starts the broker until stop, or until the test's end.
func (b *mochiBroker) start() {
	b.t.Helper()
	capabilities := mochi.NewDefaultServerCapabilities()
	if b.capabilities != nil {
		b.capabilities(capabilities)
	}
	s := mochi.New(&mochi.Options{Capabilities: capabilities, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err := s.AddHook(&hook{b: b}, nil); err != nil {
		b.t.Fatal(err)
	}
	l, err := net.Listen("tcp", b.address)
	if err != nil {
		b.t.Fatal(err)
	}
	door := &door{Listener: l}
	var in net.Listener = door
	if b.tls != nil {
		in = tls.NewListener(door, b.tls)
	}
	if err := s.AddListener(listeners.NewNet("tcp", in)); err != nil {
		b.t.Fatal(err)
	}
	b.mu.Lock()
	b.server, b.door = s, door
	b.mu.Unlock()
	if err := s.Serve(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(b.stop)
}

// stop ends all connections without a word, as a broker that is killed, and loses
// what was in memory.
func (b *mochiBroker) stop() {
	b.mu.Lock()
	s, door := b.server, b.door
	b.server = nil
	b.mu.Unlock()
	if s == nil {
		return
	}
	door.slam()
	// This broker's Close may hang while clients come and go.
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for timeout := time.After(patience); s.Clients.Len() > 0; {
		select {
		case <-tick.C:
		case <-timeout:
			b.t.Error("the broker's clients don't end")
			return
		}
	}
	if err := s.Close(); err != nil {
		b.t.Errorf("stop the broker: %v", err)
	}
}

// door is a listener that can end the connections that came through it.
type door struct {
	net.Listener

	mu    sync.Mutex
	shut  bool
	conns []net.Conn
}

// Accept implements net.Listener.
func (d *door) Accept() (net.Conn, error) {
	conn, err := d.Listener.Accept()
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conns = append(d.conns, conn)
	if d.shut {
		return nil, errors.Join(net.ErrClosed, conn.Close())
	}
	return conn, nil
}

func (d *door) slam() {
	_ = d.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shut = true
	for _, conn := range d.conns {
		_ = conn.Close()
	}
}

// messages is what was published, those to be kept empty included.
func (b *mochiBroker) messages() []published {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.got)
}

// await waits until the broker has n messages.
func (b *mochiBroker) await(n int) []published {
	b.t.Helper()
	timeout := time.After(patience)
	for {
		b.mu.Lock()
		got, changed := slices.Clone(b.got), b.changed
		b.mu.Unlock()
		if len(got) >= n {
			return got
		}
		select {
		case <-changed:
		case <-timeout:
			b.t.Fatalf("the broker has %d messages, want %d", len(got), n)
		}
	}
}

// hook is how the broker tells of messages.
type hook struct {
	mochi.HookBase
	b *mochiBroker
}

// ID implements mochi.Hook.
func (h *hook) ID() string { return "test" }

// Provides implements mochi.Hook.
func (h *hook) Provides(b byte) bool {
	return bytes.IndexByte([]byte{mochi.OnConnectAuthenticate, mochi.OnACLCheck, mochi.OnPublish}, b) >= 0
}

// OnConnectAuthenticate implements mochi.Hook.
func (h *hook) OnConnectAuthenticate(cl *mochi.Client, p packets.Packet) bool {
	h.b.mu.Lock()
	h.b.clients = append(h.b.clients, cl.ID)
	h.b.mu.Unlock()
	return h.b.login == nil || h.b.login(string(p.Connect.Username), string(p.Connect.Password))
}

// OnACLCheck implements mochi.Hook: messages to a topic that ends in "forbidden"
// are not.
func (h *hook) OnACLCheck(_ *mochi.Client, topic string, write bool) bool {
	return !write || !strings.HasSuffix(topic, "forbidden")
}

// OnPublish implements mochi.Hook. It is called before the broker acknowledges a
// message, so that what was acknowledged is there.
func (h *hook) OnPublish(cl *mochi.Client, p packets.Packet) (packets.Packet, error) {
	if h.b.publish != nil {
		if err := h.b.publish(h.b, cl, p); err != nil {
			return p, err
		}
	}
	h.b.mu.Lock()
	defer h.b.mu.Unlock()
	h.b.got = append(h.b.got, published{
		Topic: p.TopicName, Payload: string(p.Payload), QoS: p.FixedHeader.Qos, Retain: p.FixedHeader.Retain,
	})
	close(h.b.changed)
	h.b.changed = make(chan struct{})
	return p, nil
}
