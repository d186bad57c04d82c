package certs_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/unisondb/unisondb/server/acl"
	"github.com/unisondb/unisondb/server/certs"
	"github.com/unisondb/unisondb/server/certs/certstest"
	"github.com/unisondb/unisondb/server/config"
)

// patience is how long anything may take; nothing waits for it in a test that passes.
const patience = 30 * time.Second

// logBook is a log that tests read while it is written.
type logBook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logBook) logger() hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Output: l, Level: hclog.Debug})
}

// await waits until a condition holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("it doesn't come to pass that %s", what)
		}
	}
}

// doors are a gRPC and an HTTPS server with the same files.
type doors struct {
	store *certs.Store
	log   *logBook
	rpc   *grpc.Server
	grpc  string // addresses
	http  string
}

func open(t *testing.T, block config.TLS) *doors {
	t.Helper()
	d := &doors{log: &logBook{}}
	store, err := certs.Listening("tls of the test", block, certs.Options{Logger: d.log.logger(), Interval: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	d.store = store

	rpc := grpc.NewServer(grpc.Creds(store.ServerCredentials()))
	healthv1.RegisterHealthServer(rpc, health.NewServer())
	var wg sync.WaitGroup
	ln := listen(t)
	d.rpc, d.grpc = rpc, ln.Addr().String()
	wg.Go(func() { _ = rpc.Serve(ln) })

	web := &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, r.Proto) }),
		ReadHeaderTimeout: patience,
	}
	plain := listen(t)
	d.http = plain.Addr().String()
	wg.Go(func() { _ = web.Serve(store.Listener(plain)) })

	t.Cleanup(func() {
		rpc.Stop()
		_ = web.Close()
		wg.Wait()
		store.Close()
	})
	return d
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// call makes a new connection to the gRPC door and a call over it.
func (d *doors) call(t *testing.T, creds credentials.TransportCredentials) error {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+d.grpc, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // there is nothing to lose
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err = healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{})
	return err
}

// get makes a new connection to the HTTP door and a request over it.
func (d *doors) get(c *tls.Config) (string, error) {
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: c, DisableKeepAlives: true}, Timeout: patience}
	resp, err := client.Get("https://" + d.http)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

func TestWhoIsRefused(t *testing.T) {
	ca, strangers := certstest.NewCA(t, "our CA"), certstest.NewCA(t, "their CA")
	now := time.Now()
	edge := acl.Identity{Kind: acl.Relayer, Name: "edge-1"}
	version12 := func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }
	for _, tt := range []struct {
		name   string
		pair   *certs.Pair
		change func(*tls.Config)
		log    []string // parts of the line
	}{
		{"no certificate", nil, nil, []string{"identity=none", "it shows no certificate"}},
		{"wrong CA", strangers.Node(acl.Relayer, "edge-1"), nil,
			[]string{`relayer \"edge-1\"`, `CN=their CA`, "serial", "comes from an authority that ca_file"}},
		{"expired", ca.Issue(certs.Request{Identity: edge, NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(-time.Hour)}), nil,
			[]string{`relayer \"edge-1\"`, `CN=our CA`, "its certificate expired on 2"}},
		{"not yet valid", ca.Issue(certs.Request{Identity: edge, NotBefore: now.Add(time.Hour)}), nil,
			[]string{`relayer \"edge-1\"`, "isn't valid before 2", "clocks"}},
		{"TLS 1.2", ca.Node(acl.Relayer, "edge-1"), version12, []string{"identity=none", "it speaks no TLS 1.3"}},
		{"no trust in us", ca.Node(acl.Relayer, "edge-1"), func(c *tls.Config) { c.RootCAs = strangers.Pool() },
			[]string{"it refuses this node's certificate"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := open(t, *ca.Files(acl.Hub, "hub").Listener())
			c := ca.Client(tt.pair)
			if tt.change != nil {
				tt.change(c)
			}
			line := func(door string) {
				t.Helper()
				await(t, door+": the refusal is in the log", func() bool { return strings.Contains(d.log.String(), "connection refused") })
				for _, part := range append(tt.log, "[WARN]", "remote=127.0.0.1:", "tls of the test") {
					if !strings.Contains(d.log.String(), part) {
						t.Errorf("%s: no %q in the log:\n%s", door, part, d.log)
					}
				}
			}
			if answer, err := d.get(c); err == nil {
				t.Errorf("HTTP: answered %q", answer)
			}
			line("HTTP")
			d = open(t, *ca.Files(acl.Hub, "hub").Listener())
			if err := d.call(t, credentials.NewTLS(c)); status.Code(err) != codes.Unavailable {
				t.Errorf("gRPC: %v", err)
			}
			line("gRPC")
		})
	}
	d := open(t, *ca.Files(acl.Hub, "hub").Listener())
	if err := d.call(t, credentials.NewTLS(ca.Client(ca.Node(acl.Relayer, "edge-1")))); err != nil {
		t.Errorf("a good certificate: %v", err)
	}
	if got, err := d.get(ca.Client(ca.Node(acl.Client, "reports"))); err != nil || got != "HTTP/1.1" {
		t.Errorf("a good certificate: %q, %v", got, err)
	}
	if strings.Contains(d.log.String(), "WARN") {
		t.Errorf("the log:\n%s", d.log)
	}
}

// TestCertificatesAreOptionalUnlessRequired: with ca_file alone a certificate that is shown must
// be good, and none need be.
func TestCertificatesAreOptionalUnlessRequired(t *testing.T) {
	ca := certstest.NewCA(t, "our CA")
	d := open(t, ca.Files(acl.Hub, "hub").TLS)
	for name, pair := range map[string]*certs.Pair{"none": nil, "a good one": ca.Node(acl.Client, "c")} {
		if err := d.call(t, credentials.NewTLS(ca.Client(pair))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := d.call(t, credentials.NewTLS(ca.Client(certstest.NewCA(t, "other").Node(acl.Client, "c")))); err == nil {
		t.Error("a stranger's certificate is taken")
	}
}

// TestUpstreamsSayWhatIsWrong: the end that dialled tells its operator in words.
func TestUpstreamsSayWhatIsWrong(t *testing.T) {
	ca, strangers := certstest.NewCA(t, "our CA"), certstest.NewCA(t, "their CA")
	now := time.Now()
	edge := acl.Identity{Kind: acl.Relayer, Name: "edge-1"}
	expiring := func(f certstest.Files, notBefore, notAfter time.Time) {
		f.Put(ca.Issue(certs.Request{Identity: edge, NotBefore: notBefore, NotAfter: notAfter}))
	}
	hub := ca.Files(acl.Hub, "hub")
	for _, tt := range []struct {
		name string
		hub  certstest.Files
		edge func(f certstest.Files) config.TLS
		want []string
	}{
		{"no certificate", hub, func(f certstest.Files) config.TLS { return config.TLS{CAFile: f.CAFile} },
			[]string{"demands a certificate", "cert_file and key_file", "tls of upstream"}},
		{"wrong CA", hub, func(f certstest.Files) config.TLS { f.Put(strangers.Node(acl.Relayer, "edge-1")); return f.TLS },
			[]string{"whose authority it doesn't know", "node.crt"}},
		{"wrong hub", hub, func(f certstest.Files) config.TLS { f.Trust(strangers); return f.TLS },
			[]string{"the upstream isn't trusted", "comes from an authority that ca_file", "its issuer is CN=our CA"}},
		{"system's CAs", hub, func(certstest.Files) config.TLS { return config.TLS{} },
			[]string{"this machine's list of authorities"}},
		{"wrong name", namedHub(ca), func(f certstest.Files) config.TLS { return f.TLS },
			[]string{"its certificate is for elsewhere.example and not for 127.0.0.1"}},
		{"expired while it runs", hub, func(f certstest.Files) config.TLS {
			expiring(f, now.Add(-time.Hour), now.Add(time.Hour))
			return f.TLS
		}, []string{"has expired"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := open(t, *tt.hub.Listener())
			o := certs.Options{Interval: time.Hour}
			if tt.name == "expired while it runs" { // by the hub's clock
				d.store.Close()
				d = openAt(t, *ca.Files(acl.Hub, "hub").Listener(), func() time.Time { return now.Add(2 * time.Hour) })
			}
			s, err := certs.Dialling(`tls of upstream "hub"`, tt.edge(ca.Files(acl.Relayer, "edge-1")), o)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			for range 10 { // a reset must not take the words away
				err = d.call(t, s.ClientCredentials())
				for _, part := range append(tt.want, certs.Code+": ") {
					if err == nil || !strings.Contains(err.Error(), part) {
						t.Fatalf("no %q in: %v", part, err)
					}
				}
			}
		})
	}
}

func namedHub(ca *certstest.CA) certstest.Files {
	f := ca.Files(acl.Hub, "hub")
	f.Put(ca.Issue(certs.Request{Identity: acl.Identity{Kind: acl.Hub, Name: "hub"}, DNSNames: []string{"elsewhere.example"}}))
	return f
}

// openAt is a gRPC door that has another clock.
func openAt(t *testing.T, block config.TLS, clock func() time.Time) *doors {
	t.Helper()
	d := &doors{log: &logBook{}}
	store, err := certs.Listening("tls of the test", block, certs.Options{Logger: d.log.logger(), Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	rpc := grpc.NewServer(grpc.Creds(store.ServerCredentials()))
	healthv1.RegisterHealthServer(rpc, health.NewServer())
	ln := listen(t)
	d.grpc, d.store = ln.Addr().String(), store
	var wg sync.WaitGroup
	wg.Go(func() { _ = rpc.Serve(ln) })
	t.Cleanup(func() {
		rpc.Stop()
		wg.Wait()
		store.Close()
	})
	return d
}

// TestPlainText: who speaks no TLS is told so, in either direction.
func TestPlainText(t *testing.T) {
	ca := certstest.NewCA(t, "our CA")
	d := open(t, *ca.Files(acl.Hub, "hub").Listener())
	resp, err := http.Get("http://" + d.http + "/health")
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
	if resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(b), `"write the address with https://`) && !strings.Contains(string(b), "https://") {
		t.Errorf("%d %s", resp.StatusCode, b)
	}
	if err := d.call(t, insecure.NewCredentials()); err == nil {
		t.Error("gRPC in plain text is taken")
	}
	await(t, "both are in the log", func() bool { return strings.Contains(d.log.String(), "it speaks no TLS") })

	plain := grpc.NewServer()
	ln := listen(t)
	var wg sync.WaitGroup
	wg.Go(func() { _ = plain.Serve(ln) })
	defer wg.Wait()
	defer plain.Stop()
	s, err := certs.Dialling(`tls of upstream "hub"`, ca.Files(acl.Relayer, "edge").TLS, certs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := (&doors{grpc: ln.Addr().String()}).call(t, s.ClientCredentials()); err == nil || !strings.Contains(err.Error(), "speaks no TLS") {
		t.Errorf("a plain upstream: %v", err)
	}
}

// TestPortScansAreNoWarnings: who opens a connection and says nothing wrong is not in
// the log of warnings.
func TestPortScansAreNoWarnings(t *testing.T) {
	ca := certstest.NewCA(t, "our CA")
	d := open(t, *ca.Files(acl.Hub, "hub").Listener())
	for _, address := range []string{d.http, d.grpc} {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "both have ended", func() bool { return strings.Count(d.log.String(), "connection ended in the handshake") == 2 })
	if strings.Contains(d.log.String(), "WARN") {
		t.Errorf("the log:\n%s", d.log)
	}
}

// TestARefusalIsRead: a client of TLS 1.3 has sent a request before the server has looked
// at its certificate. It reads the reason all the same, and no reset.
func TestARefusalIsRead(t *testing.T) {
	ca := certstest.NewCA(t, "our CA")
	d := open(t, *ca.Files(acl.Hub, "hub").Listener())
	for range 50 {
		conn, err := tls.Dial("tcp", d.http, ca.Client(nil))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write([]byte("GET / HTTP/1.1\r\nHost: hub\r\n\r\n")) // it may be late
		_, err = bufio.NewReader(conn).ReadString('\n')
		if err == nil || !strings.Contains(err.Error(), "certificate required") {
			t.Fatalf("read %v", err)
		}
		_ = conn.Close()
	}
}

// TestStoppingDoesNotWaitForDawdlers: a gRPC server waits at its stop for the handshakes that
// are under way, which Interrupt ends.
func TestStoppingDoesNotWaitForDawdlers(t *testing.T) {
	ca := certstest.NewCA(t, "our CA")
	d := open(t, *ca.Files(acl.Hub, "hub").Listener())
	for range 20 {
		c, err := net.Dial("tcp", d.grpc)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	if err := d.call(t, credentials.NewTLS(ca.Client(ca.Node(acl.Relayer, "edge")))); err != nil {
		t.Error(err)
	}
	began := time.Now()
	d.store.Interrupt()
	d.rpc.Stop()
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("stopping took %v", took)
	}
	if !strings.Contains(d.log.String(), "connection ended in the handshake") || strings.Contains(d.log.String(), "WARN") {
		t.Errorf("the log:\n%s", d.log)
	}
}

// TestClosingDoesNotWaitForDawdlers: who never finishes a handshake doesn't keep a
// door open, and doesn't keep others out.
func TestClosingDoesNotWaitForDawdlers(t *testing.T) {
	ca := certstest.NewCA(t, "our CA")
	store, err := certs.Listening("tls of the test", ca.Files(acl.Hub, "hub").TLS, certs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	ln := listen(t)
	secure := store.Listener(ln)
	for range 20 {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	taken := make(chan net.Conn)
	go func() {
		c, err := secure.Accept()
		if err != nil {
			t.Error(err)
		}
		taken <- c
	}()
	c, err := tls.Dial("tcp", ln.Addr().String(), ca.Client(nil))
	if err != nil {
		t.Fatal(err)
	}
	_ = (<-taken).Close()
	_ = c.Close()
	began := time.Now()
	if err := secure.Close(); err != nil {
		t.Error(err)
	}
	if d := time.Since(began); d > 4*time.Second {
		t.Errorf("closing took %v", d)
	}
	if _, err := secure.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
}
