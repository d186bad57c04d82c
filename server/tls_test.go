package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/unisondb/unisondb/replicator"
	"github.com/unisondb/unisondb/sdk/client"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
	"github.com/unisondb/unisondb/server"
	"github.com/unisondb/unisondb/server/acl"
	"github.com/unisondb/unisondb/server/certs"
	"github.com/unisondb/unisondb/server/certs/certstest"
	"github.com/unisondb/unisondb/server/config"
	"github.com/unisondb/unisondb/server/httpapi"
	"github.com/unisondb/unisondb/server/servertest"
)

// logBook is a node's log, readable while it is written.
type logBook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// lines are those that say all of these.
func (l *logBook) lines(parts ...string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []string
	for line := range strings.Lines(l.b.String()) {
		all := true
		for _, part := range parts {
			all = all && strings.Contains(line, part)
		}
		if all {
			found = append(found, line)
		}
	}
	return found
}

func (l *logBook) String() string { return strings.Join(l.lines(), "") }

// loggedHub is a secure hub whose log is kept. Of its namespaces "orders" is for relayers named
// edge-… and "open" for all.
func loggedHub(t *testing.T, ca *certstest.CA) (*servertest.Node, *logBook) {
	t.Helper()
	book := &logBook{}
	cfg := servertest.Config(t, "hub", "orders", "open")
	cfg.Namespaces[0].Replicate = &config.Replicate{Relayers: []string{"edge-*"}, Hubs: []string{"hub-*"}}
	log := hclog.New(&hclog.LoggerOptions{Output: book, Level: hclog.Info})
	return servertest.RunSecure(t, ca, server.RoleHub, cfg, ca.Files(acl.Hub, "hub"), log), book
}

// TestFollowersThatAreRefused: the hub's log names who it was and what is wrong, and the
// status of who was refused says it, too.
func TestFollowersThatAreRefused(t *testing.T) {
	ca, strangers, now := certstest.NewCA(t, "our CA"), certstest.NewCA(t, "their CA"), time.Now()
	for _, tt := range []struct {
		name      string
		node      string
		files     func() certstest.Files
		change    func(*config.TLS)
		namespace string
		code      string   // in the relayer's status
		reason    string   // part of it
		log       []string // parts of a line of the hub's
	}{
		{"no certificate", "edge-1", func() certstest.Files { return ca.Files(acl.Relayer, "edge-1") },
			func(b *config.TLS) { b.CertFile, b.KeyFile = "", "" }, "orders",
			replicator.CodeTLSFailed, "the upstream demands a certificate", []string{"identity=none", "it shows no certificate"}},
		{"wrong CA", "edge-1", func() certstest.Files {
			f := ca.Files(acl.Relayer, "edge-1")
			f.Put(strangers.Node(acl.Relayer, "edge-1"))
			return f
		}, nil, "orders",
			replicator.CodeTLSFailed, "whose authority it doesn't know", []string{`relayer \"edge-1\"`, "CN=their CA", "an authority that ca_file"}},
		{"expired", "edge-1", func() certstest.Files {
			f := ca.Files(acl.Relayer, "edge-1")
			f.Put(ca.Issue(certs.Request{Identity: acl.Identity{Kind: acl.Relayer, Name: "edge-1"}, NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(-time.Hour)}))
			return f
		}, nil, "orders",
			replicator.CodeTLSFailed, "has expired", []string{`relayer \"edge-1\"`, "CN=our CA", "its certificate expired on 2"}},
		{"another hub", "edge-1", func() certstest.Files {
			f := ca.Files(acl.Relayer, "edge-1")
			f.Trust(strangers)
			return f
		}, nil, "orders",
			replicator.CodeTLSFailed, "the upstream isn't trusted", []string{"it refuses this node's certificate"}},
		{"wrong namespace", "shop-1", func() certstest.Files { return ca.Files(acl.Relayer, "shop-1") }, nil, "orders",
			replicator.CodeForbidden, `namespace "orders" isn't for relayer "shop-1"`, []string{`relayer \"shop-1\"`, "CN=our CA", "namespace=orders", "isn't for"}},
		{"another's name", "edge-2", func() certstest.Files { return ca.Files(acl.Relayer, "edge-1") }, nil, "open",
			replicator.CodeForbidden, `the node calls itself "edge-2"`, []string{`relayer \"edge-1\"`, `calls itself \"edge-2\"`, "namespace=open"}},
		{"a hub by its name alone", "hub-2", func() certstest.Files { return ca.Files(acl.Relayer, "hub-2") }, nil, "orders",
			replicator.CodeForbidden, `isn't for relayer "hub-2"`, []string{`relayer \"hub-2\"`, "isn't for"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			hub, book := loggedHub(t, ca)
			files := tt.files()
			cfg := servertest.Follower(t, tt.node, hub, tt.namespace)
			cfg.Relayer.Upstreams[0].TLS = files.Upstream()
			if tt.change != nil {
				tt.change(cfg.Relayer.Upstreams[0].TLS)
			}
			edge := servertest.Run(t, server.RoleRelayer, cfg)
			servertest.WaitFor(t, "the relayer's status says that it was refused", func() bool { return status(t, edge, tt.namespace).Code == tt.code })
			if s := status(t, edge, tt.namespace); !strings.Contains(s.Reason, tt.reason) || s.Connected == nil || *s.Connected {
				t.Errorf("the relayer's status is %+v, want %q", s, tt.reason)
			}
			parts := slices.Concat(tt.log, []string{"[WARN]", "connection refused", "remote=127.0.0.1:"})
			servertest.WaitFor(t, "it is in the hub's log", func() bool { return len(book.lines(parts...)) > 0 })
		})
	}
}

// TestCertificatesOutOfTime: a listener's own certificate is checked at its start; one that
// another shows is refused.
func TestCertificatesOutOfTime(t *testing.T) {
	ca := certstest.NewCA(t, "our CA")
	hub, book := loggedHub(t, ca)
	now, edge := time.Now(), acl.Identity{Kind: acl.Relayer, Name: "edge-1"}
	expired := ca.Issue(certs.Request{Identity: edge, NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(-time.Hour)})
	early := ca.Issue(certs.Request{Identity: edge, NotBefore: now.Add(time.Hour)})

	files := ca.Files(acl.Hub, "hub-2")
	files.Put(expired)
	cfg := servertest.Config(t, "hub-2", "orders")
	cfg.GRPC.TLS = files.Listener()
	startFails(t, server.RoleHub, cfg, `tls of listener "grpc": cert_file`, "it expired on")

	for reason, pair := range map[string]*certs.Pair{"its certificate expired on": expired, "its certificate isn't valid before": early} {
		if _, err := follow(t, hub, credentials.NewTLS(ca.Client(pair)), "edge-1", "orders"); grpcstatus.Code(err) != codes.Unavailable {
			t.Errorf("%s: %v", reason, err)
		}
		servertest.WaitFor(t, "it is in the hub's log", func() bool {
			return len(book.lines("[WARN]", "connection refused", `relayer \"edge-1\"`, "CN=our CA", reason)) == 1
		})
	}
	// A client's certificate opens the door, and nothing is streamed to it.
	answer, err := follow(t, hub, credentials.NewTLS(ca.Client(ca.Node(acl.Client, "edge-1"))), "edge-1", "open")
	if err != nil || answer.GetRefused().GetCode() != replicator.CodeForbidden || answer.GetRefused().GetRetryable() {
		t.Errorf("a client was answered %v, %v", answer, err)
	}
	servertest.WaitFor(t, "the client is in the log", func() bool {
		return len(book.lines("connection refused", `client \"edge-1\"`, "is for the data API")) == 1
	})
	// A good one is let in.
	answer, err = follow(t, hub, credentials.NewTLS(ca.Client(ca.Node(acl.Relayer, "edge-1"))), "edge-1", "orders")
	if err != nil || answer.GetRefused() != nil {
		t.Errorf("a relayer was answered %v, %v", answer, err)
	}
}

// follow asks a hub for a namespace and returns its answer.
func follow(t *testing.T, hub *servertest.Node, creds credentials.TransportCredentials, nodeID, namespace string) (*dbv1.SourceAnswer, error) {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+hub.Addresses().GRPC, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // there is nothing to lose
	ctx, cancel := context.WithTimeout(t.Context(), servertest.Deadline)
	defer cancel()
	stream, err := dbv1.NewReplicationClient(conn).Follow(ctx)
	if err != nil {
		return nil, err
	}
	hello := &dbv1.SinkHello{ProtocolVersion: 1, MinProtocolVersion: 1, NodeId: nodeID, Namespace: namespace}
	if err := stream.Send(&dbv1.SinkMessage{Body: &dbv1.SinkMessage_Hello{Hello: hello}}); err != nil {
		return nil, err
	}
	m, err := stream.Recv()
	return m.GetAnswer(), err
}

// TestClaimsWithoutCertificates: on a plain listener the rules go by what a node calls itself.
func TestClaimsWithoutCertificates(t *testing.T) {
	book := &logBook{}
	cfg := servertest.Config(t, "hub", "orders")
	cfg.Namespaces[0].Replicate = &config.Replicate{Relayers: []string{"edge-*"}}
	n, err := server.New(cfg, server.Options{Role: server.RoleHub, Logger: hclog.New(&hclog.LoggerOptions{Output: book})})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = n.Shutdown(context.Background()) }()
	hub := &servertest.Node{Node: n}
	edge, shop := servertest.Relayer(t, "edge-1", hub, "orders"), servertest.Relayer(t, "shop-1", hub, "orders")
	edge.WaitReady()
	servertest.WaitFor(t, "the other is refused", func() bool { return status(t, shop, "orders").Code == replicator.CodeForbidden })
	if len(book.lines("connection refused", `identity="claims to be \"shop-1\""`, "namespace=orders")) != 1 ||
		len(book.lines("[WARN]", "go by what nodes call themselves", "require_client_cert")) != 1 {
		t.Errorf("the log:\n%s", book)
	}
	edge.Stop()
	shop.Stop()
}

// TestClaimsWhereCertificatesAreAsked: a listener that knows who signs certificates and doesn't demand
// one lets programs in without, but nobody follows a namespace by calling itself something.
func TestClaimsWhereCertificatesAreAsked(t *testing.T) {
	ca, book := certstest.NewCA(t, "our CA"), &logBook{}
	files := ca.Files(acl.Hub, "hub")
	cfg := servertest.Config(t, "hub", "orders", "open")
	cfg.Namespaces[0].Replicate = &config.Replicate{Relayers: []string{"edge-*"}}
	cfg.GRPC.TLS = &files.TLS
	n, err := server.New(cfg, server.Options{Role: server.RoleHub, Logger: hclog.New(&hclog.LoggerOptions{Output: book})})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = n.Shutdown(context.Background()) }()
	hub := &servertest.Node{Node: n}
	for _, tt := range []struct {
		pair      *certs.Pair
		namespace string
		refused   bool
	}{
		{nil, "orders", true},
		{nil, "open", false},
		{ca.Node(acl.Relayer, "edge-1"), "orders", false},
	} {
		answer, err := follow(t, hub, credentials.NewTLS(ca.Client(tt.pair)), "edge-1", tt.namespace)
		if err != nil || (answer.GetRefused().GetCode() == replicator.CodeForbidden) != tt.refused {
			t.Errorf("%q with certificate %v was answered %v, %v", tt.namespace, tt.pair != nil, answer, err)
		}
	}
	if len(book.lines("connection refused", `identity="claims to be \"edge-1\""`, "namespace=orders", "it shows no certificate")) != 1 {
		t.Errorf("the log:\n%s", book)
	}
}

// TestRelayersOfRelayersOverTLS: data and positions pass through every hop.
func TestRelayersOfRelayersOverTLS(t *testing.T) {
	ca := certstest.NewCA(t, "our CA")
	hub := servertest.SecureHub(t, ca, "hub", "default")
	near := servertest.SecureRelayer(t, ca, "near", hub, "default")
	far := servertest.SecureRelayer(t, ca, "far", near, "default")
	far.WaitReady()
	p := hub.Put("default", "k", "v")
	if got, _ := far.Get("default", "k", p); got != "v" {
		t.Errorf("the far relayer has %q", got)
	}
	for n, blocks := range map[*servertest.Node]int{hub: 2, near: 3, far: 3} {
		var s httpapi.Status
		r := n.Do("GET", "/v1/status", nil)
		if err := json.Unmarshal(r.Body, &s); err != nil || len(s.Certificates) != blocks {
			t.Errorf("%s: %v, status %s", n.ID(), err, r.Body)
		}
		for _, c := range s.Certificates {
			if c.Problem != "" || len(c.Fingerprint) != 64 || !strings.Contains(c.Subject, n.ID()) || time.Until(c.NotAfter) < time.Hour || c.LoadedAt.IsZero() {
				t.Errorf("%s: %+v", n.ID(), c)
			}
		}
	}
	far.Files.Write(far.Files.KeyFile, nil)
	servertest.WaitFor(t, "the metrics say that new files can't be used", func() bool {
		return strings.Contains(string(far.Do("GET", "/metrics", nil).Body), `unisondb_certificate_problem{block="tls of upstream \"up\""} 1`)
	})
	if got, _ := far.Get("default", "k", hub.Put("default", "k", "w")); got != "w" {
		t.Errorf("with its old certificate the far relayer has %q", got)
	}
}

// TestADevelopmentGroupTakesNoTLS: it would speak plain text where TLS was asked for.
func TestADevelopmentGroupTakesNoTLS(t *testing.T) {
	cfg := servertest.Config(t, "hub", "default")
	cfg.GRPC.TLS = certstest.NewCA(t, "our CA").Files(acl.Hub, "hub").Listener()
	if _, err := server.NewDev(server.DevOptions{Config: &cfg}); err == nil || !strings.Contains(err.Error(), `listener "grpc" has a tls block`) {
		t.Errorf("got %v", err)
	}
}

// rotated are the files of everybody in TestRotationUnderLoad, with those who use them.
type rotated struct {
	t       *testing.T
	ca      *certstest.CA
	hub     *servertest.Node
	near    *servertest.Node // its stream stays up
	program certstest.Files  // of the clients of the API
	settled func()           // lets traffic pass, so that each state is met by some
}

// step changes files, lets everybody see them and lets traffic pass.
func (r *rotated) step(change func()) {
	r.t.Helper()
	change()
	for _, n := range []*servertest.Node{r.hub, r.near} {
		if err := n.ReloadCertificates(); err != nil {
			r.t.Error(err)
		}
	}
	r.settled()
}

func (r *rotated) trust(cas ...*certstest.CA) {
	for _, f := range []certstest.Files{r.hub.Files, r.near.Files, r.program} {
		f.Trust(cas...)
	}
}

// rotate goes from one CA to the next in the order that an operator has to keep.
func (r *rotated) rotate(next *certstest.CA) {
	r.step(func() { r.trust(r.ca, next) })
	r.step(func() {
		r.hub.Files.Put(next.Node(acl.Hub, "hub"))
		r.near.Files.Put(next.Node(acl.Relayer, "near"))
		r.program.Put(next.Node(acl.Client, "program"))
	})
	r.step(func() { r.trust(next) })
	r.ca = next
}

// rounds says whether there is another round: three, or as many as go into DURATION.
func rounds(t *testing.T) func(done int) bool {
	t.Helper()
	s := os.Getenv("DURATION")
	if s == "" {
		return func(done int) bool { return done < 3 }
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatalf("DURATION: %v", err)
	}
	end := time.Now().Add(d)
	return func(int) bool { return time.Now().Before(end) }
}

// TestRotationUnderLoad: certificates and CA are replaced while programs write and read over new
// connections, a stream is up, and another relayer comes and goes. No request fails, and the
// stream isn't made anew.
func TestRotationUnderLoad(t *testing.T) {
	ca := certstest.NewCA(t, "CA 0")
	hub := servertest.SecureHub(t, ca, "hub", "default")
	near := servertest.SecureRelayer(t, ca, "near", hub, "default")
	near.WaitReady()
	comes := servertest.SecureRelayer(t, ca, "comes", hub, "default")
	r := &rotated{t: t, ca: ca, hub: hub, near: near, program: ca.Files(acl.Client, "program")}

	load := &programs{t: t, files: r.program, stop: make(chan struct{})}
	load.run(hub)
	load.run(hub)
	load.run(near)
	r.settled = load.some
	for round, more := 0, rounds(t); more(round); round++ {
		next := certstest.NewCA(t, fmt.Sprintf("CA %d", round+1))
		r.rotate(next)
		comes.Files.Put(next.Node(acl.Relayer, "comes"))
		comes.Files.Trust(next)
		comes.Restart() // a new stream, by a node of the new CA
		p := load.position()
		for _, n := range []*servertest.Node{near, comes} {
			res, err := load.get(n, p)
			if err != nil || !res {
				t.Errorf("round %d: node %s, position %v: %v, %v", round, n.ID(), p, res, err)
			}
		}
	}
	load.end()
	t.Logf("%d requests over new connections", load.requests.Load())
	if m := metrics(t, near, r.ca); !strings.Contains(m, `unisondb_upstream_reconnects_total{namespace="default",upstream="up"} 0`) {
		t.Error("the stream that was up was made anew")
	}
}

// metrics asks a node of a CA for its metrics.
func metrics(t *testing.T, n *servertest.Node, ca *certstest.CA) string {
	t.Helper()
	c := &http.Client{Timeout: servertest.Deadline, Transport: &http.Transport{TLSClientConfig: ca.Client(ca.Node(acl.Client, "metrics")), DisableKeepAlives: true}}
	res, err := c.Get(n.URL() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close() //nolint:errcheck // it was read
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

// programs write and read over new connections until they are stopped.
type programs struct {
	t        *testing.T
	files    certstest.Files
	stop     chan struct{}
	wg       sync.WaitGroup
	requests atomic.Int64

	mu   sync.Mutex
	last client.Position
}

// connect makes a client. Each request of it is a connection of its own, if it is closed after each.
func (p *programs) connect(n *servertest.Node) *client.Client {
	c, err := client.New(client.Config{Address: n.URL(), CAFile: p.files.CAFile, CertFile: p.files.CertFile, KeyFile: p.files.KeyFile})
	if err != nil {
		p.t.Error(err)
		return nil
	}
	return c
}

// run has a program that reads from a node, and writes to it where it is the hub.
func (p *programs) run(n *servertest.Node) {
	c := p.connect(n)
	p.wg.Go(func() {
		defer c.Close()
		for i := 0; ; i++ {
			select {
			case <-p.stop:
				return
			default:
			}
			var err error
			if n.Role == server.RoleHub {
				var at client.Position
				at, err = c.KV().Put(context.Background(), []byte("k"), fmt.Append(nil, i))
				p.note(at)
				c.Close()
			}
			_, getErr := c.KV().Get(context.Background(), []byte("k"))
			if errors.Is(getErr, client.ErrNotFound) {
				getErr = nil // before the first write
			}
			c.Close()
			if err := errors.Join(err, getErr); err != nil {
				p.t.Errorf("node %s: %v", n.Config.NodeID, err)
				return
			}
			p.requests.Add(1)
		}
	})
}

func (p *programs) note(at client.Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = at
}

func (p *programs) position() client.Position {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

// some waits until a few more requests have been answered.
func (p *programs) some() {
	p.t.Helper()
	n := p.requests.Load()
	servertest.WaitFor(p.t, "requests are answered", func() bool { return p.requests.Load() > n+10 || p.t.Failed() })
}

func (p *programs) end() {
	close(p.stop)
	p.wg.Wait()
}

// get reads from a state that includes a position.
func (p *programs) get(n *servertest.Node, at client.Position) (bool, error) {
	c := p.connect(n)
	defer c.Close()
	_, err := c.KV().Get(context.Background(), []byte("k"), client.AtLeast(at), client.Wait(servertest.Deadline/2))
	return err == nil, err
}
