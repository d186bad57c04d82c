package forward_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	grpcbackoff "google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/unisondb/unisondb/replicator"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
	"github.com/unisondb/unisondb/server/internal/forward"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ample is more than anything takes; only a test that fails waits for it.
const ample = 2 * time.Minute

// service is a hub's service with one call.
type service struct {
	dbv1.UnimplementedHubsServer
	forward func(dbv1.Hubs_ForwardServer) error
	streams atomic.Int64
}

func (s *service) Forward(stream dbv1.Hubs_ForwardServer) error {
	s.streams.Add(1)
	return s.forward(stream)
}

// hub is the receiving end of a test, on a port that it keeps while it is away.
type hub struct {
	t       testing.TB
	id      string
	service *service
	address string
	server  *grpc.Server
	done    chan struct{}
	mu      sync.Mutex
	conns   []net.Conn
}

// newHub makes a hub whose requests h answers. It is away until start.
func newHub(t testing.TB, id string, h http.Handler) (*hub, *forward.Forwarder) {
	f := forward.New(forward.Options{NodeID: id})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), ample)
		defer cancel()
		if err := f.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return scripted(t, id, func(stream dbv1.Hubs_ForwardServer) error { return f.Serve(stream, h) }), f
}

// scripted makes a hub that does what a test says.
func scripted(t testing.TB, id string, serve func(dbv1.Hubs_ForwardServer) error) *hub {
	b := &hub{t: t, id: id, service: &service{forward: serve}}
	ln := b.listen("127.0.0.1:0")
	b.address = ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.stop)
	return b
}

func (b *hub) listen(address string) net.Listener {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		b.t.Fatal(err)
	}
	return ln
}

// start brings the hub up.
func (b *hub) start() *hub {
	b.server, b.done = grpc.NewServer(replicator.ServerOptions()...), make(chan struct{})
	dbv1.RegisterHubsServer(b.server, b.service)
	ln, server, done := &listener{b.listen(b.address), b}, b.server, b.done
	go func() {
		defer close(done)
		_ = server.Serve(ln) // it ends by stop
	}()
	return b
}

// stop takes the hub down, with all its connections.
func (b *hub) stop() {
	if b.server != nil {
		b.server.Stop()
		<-b.done
		b.server = nil
	}
}

// cut ends all connections of the hub, which goes on.
func (b *hub) cut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.conns {
		_ = c.Close()
	}
	b.conns = nil
}

type listener struct {
	net.Listener
	hub *hub
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.hub.mu.Lock()
		l.hub.conns = append(l.hub.conns, c)
		l.hub.mu.Unlock()
	}
	return c, err
}

// peers are connections by address.
type peers struct {
	t     testing.TB
	dial  func(context.Context, string) (net.Conn, error) // nil: by TCP
	mu    sync.Mutex
	conns map[string]*grpc.ClientConn
}

func newPeers(t testing.TB) *peers { return &peers{t: t, conns: map[string]*grpc.ClientConn{}} }

func (p *peers) Hubs(address string) (dbv1.HubsClient, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns[address] == nil {
		backoff := grpcbackoff.DefaultConfig
		backoff.BaseDelay, backoff.MaxDelay = 10*time.Millisecond, 100*time.Millisecond
		options := []grpc.DialOption{
			grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry(),
			grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff, MinConnectTimeout: time.Second}),
		}
		if p.dial != nil {
			options = append(options, grpc.WithContextDialer(p.dial))
		}
		conn, err := grpc.NewClient("passthrough:///"+address, options...)
		if err != nil {
			return nil, err
		}
		p.t.Cleanup(func() {
			if err := conn.Close(); err != nil {
				p.t.Error(err)
			}
		})
		p.conns[address] = conn
	}
	return dbv1.NewHubsClient(p.conns[address]), nil
}

// newFront makes a sending end that knows hubs, the owner first.
func newFront(t testing.TB, hold time.Duration, hubs ...*hub) *forward.Forwarder {
	return newFrontOf(t, forward.Options{NodeID: "front", Hold: hold}, hubs...)
}

func newFrontOf(t testing.TB, o forward.Options, hubs ...*hub) *forward.Forwarder {
	o.Peers = newPeers(t)
	if o.Resolve != nil {
		return forward.New(o)
	}
	o.Resolve = func(_ string, write bool) (targets []forward.Target, err error) {
		for _, b := range hubs {
			targets = append(targets, forward.Target{ID: b.id, Address: b.address})
			if write {
				break
			}
		}
		return targets, nil
	}
	return forward.New(o)
}

// inMemory are connections to a hub in the test's own bubble of time. serve of nil: it is away.
func inMemory(t testing.TB, serve func(dbv1.Hubs_ForwardServer) error) forward.Peers {
	ln := bufconn.Listen(1 << 20)
	server := grpc.NewServer(replicator.ServerOptions()...)
	dbv1.RegisterHubsServer(server, &service{forward: serve})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(ln) // it ends by Stop
	}()
	p := newPeers(t)
	p.dial = func(ctx context.Context, _ string) (net.Conn, error) {
		if serve == nil {
			return nil, errors.New("connection refused")
		}
		return ln.DialContext(ctx)
	}
	t.Cleanup(func() {
		server.Stop()
		<-done
	})
	return p
}

// body is one of a test, which knows how much was read of it.
type body struct {
	io.Reader
	read    atomic.Int64
	stopped chan struct{}
	stop    sync.Once
}

func newBody(r io.Reader) *body { return &body{Reader: r, stopped: make(chan struct{})} }

func (b *body) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.read.Add(int64(n))
	return n, err
}

func (b *body) Stop()        { b.stop.Do(func() { close(b.stopped) }) }
func (b *body) Rewind() bool { return false }

// stalled is a body whose rest doesn't arrive, until nobody wants it.
type stalled struct {
	first   io.Reader
	stopped chan struct{}
}

func (s *stalled) Read(p []byte) (int, error) {
	if n, err := s.first.Read(p); err == nil {
		return n, nil
	}
	<-s.stopped
	return 0, forward.ErrStopped
}

func newStalled(first string) *body {
	s := &stalled{first: bytes.NewReader([]byte(first))}
	b := newBody(s)
	s.stopped = b.stopped
	return b
}

// write is a request without a body that writes.
var write = forward.Request{Namespace: "default", Write: true}

// read is one that doesn't.
var read = forward.Request{Namespace: "default"}

func writeOf(b *body, length int64) forward.Request {
	return forward.Request{Namespace: "default", Write: true, Body: b, Length: length}
}

func request(t testing.TB, method, target string) *http.Request {
	r, err := http.NewRequestWithContext(t.Context(), method, "http://front"+target, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// answers passes a request on and wants an answer.
func answers(t testing.TB, f *forward.Forwarder, r *http.Request, q forward.Request) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	if err := f.Forward(w, r, q); err != nil {
		t.Fatal(err)
	}
	return w
}

// fails passes a request on and wants an error of a type.
func fails[E error](t testing.TB, f *forward.Forwarder, r *http.Request, q forward.Request) E {
	t.Helper()
	w := httptest.NewRecorder()
	err := f.Forward(w, r, q)
	e, ok := errors.AsType[E](err)
	if !ok {
		t.Fatalf("got %T (%v), and the answer %d %q", err, err, w.Code, w.Body)
	}
	return e
}

// accepting is a handler that takes requests up first.
func accepting(h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if forward.From(r.Context()).Accept() == nil {
			h(w, r)
		}
	})
}

// await waits for what has to come.
func await[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	timer := time.NewTimer(ample)
	defer timer.Stop()
	select {
	case v := <-c:
		return v
	case <-timer.C:
		t.Fatalf("%s: it didn't come", what)
		panic("unreachable")
	}
}
