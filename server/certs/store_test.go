package certs_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/unisondb/unisondb/server/acl"
	"github.com/unisondb/unisondb/server/certs"
	"github.com/unisondb/unisondb/server/certs/certstest"
)

// serial is which certificate a door shows to a new connection.
func (d *doors) serial(t *testing.T, c *tls.Config) string {
	t.Helper()
	conn, err := tls.Dial("tcp", d.http, c)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // it was only looked at
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

// TestNewFilesAreUsed: without anybody's doing, by new connections; those that are up go on.
func TestNewFilesAreUsed(t *testing.T) {
	ca := certstest.NewCA(t, "our CA")
	f := ca.Files(acl.Hub, "hub")
	d := open(t, *f.Listener())
	client := ca.Client(ca.Node(acl.Client, "c"))
	old, err := tls.Dial("tcp", d.http, client)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close() //nolint:errcheck // it was used

	pair := ca.Node(acl.Hub, "hub")
	f.Put(pair)
	await(t, "the new certificate is shown", func() bool { return d.serial(t, client) == pair.Certificate.SerialNumber.String() })
	if st := d.store.Status(); st.Problem != "" || st.Fingerprint != certs.Fingerprint(pair.Certificate.Raw) || !st.NotAfter.Equal(pair.Certificate.NotAfter) {
		t.Errorf("status %+v", st)
	}

	// The CA changes, too: who comes from the old one has no way in any more.
	other := certstest.NewCA(t, "new CA")
	f.Trust(other)
	await(t, "the old CA's clients are refused", func() bool { _, err := d.get(client); return err != nil })
	stranger := ca.Client(other.Node(acl.Client, "c")) // it trusts ours, and comes from the other
	if _, err := d.get(stranger); err != nil {
		t.Errorf("a client of the new CA: %v", err)
	}

	if _, err := fmt.Fprint(old, "GET / HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(old); err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 200 OK") {
		t.Errorf("the connection that was up: %q, %v", b, err)
	}
}

// TestBrokenFilesKeepTheOld: whatever is wrong with new files, the old ones stay in use, and
// the operator is told.
func TestBrokenFilesKeepTheOld(t *testing.T) {
	ca := certstest.NewCA(t, "our CA")
	now := time.Now()
	for _, tt := range []struct {
		name  string
		spoil func(f certstest.Files)
		want  string
	}{
		{"no key yet", func(f certstest.Files) { f.Write(f.CertFile, ca.Node(acl.Hub, "hub").CertPEM) }, "isn't the key of"},
		{"gone", func(f certstest.Files) { remove(t, f.KeyFile) }, "no such file"},
		{"half written", func(f certstest.Files) { f.Write(f.CertFile, ca.Node(acl.Hub, "hub").CertPEM[:200]) }, "cut short or damaged"},
		{"no CA", func(f certstest.Files) { f.Write(f.CAFile, ca.Node(acl.Hub, "hub").CertPEM) }, "isn't a CA"},
		{"expired", func(f certstest.Files) {
			f.Put(ca.Issue(certs.Request{Identity: acl.Identity{Kind: acl.Hub, Name: "hub"}, NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(-time.Hour)}))
		}, "it expired on"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := ca.Files(acl.Hub, "hub")
			d := open(t, *f.Listener())
			client := ca.Client(ca.Node(acl.Client, "c"))
			before := d.serial(t, client)
			tt.spoil(f)
			if err := d.store.Reload(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("asked to reload it says %v", err)
			}
			await(t, "the problem is in the log", func() bool { return strings.Contains(d.log.String(), "new certificates aren't used") })
			if st := d.store.Status(); !strings.Contains(st.Problem, tt.want) {
				t.Errorf("status %+v", st)
			}
			if d.serial(t, client) != before {
				t.Error("the certificate was changed")
			}
			if _, err := d.get(client); err != nil {
				t.Errorf("a request: %v", err)
			}
			if n := strings.Count(d.log.String(), "[WARN]"); n != 1 {
				t.Errorf("%d warnings:\n%s", n, d.log)
			}

			pair := ca.Node(acl.Hub, "hub")
			f.Put(pair)
			f.Trust(ca)
			if err := d.store.Reload(); err != nil {
				t.Errorf("put right: %v", err)
			}
			if got := d.serial(t, client); got != pair.Certificate.SerialNumber.String() || d.store.Status().Problem != "" {
				t.Errorf("put right it shows %s; status %+v", got, d.store.Status())
			}
		})
	}
}

// TestNoResumption: a client that kept its session is looked at anew, so that a CA
// which was taken away is gone.
func TestNoResumption(t *testing.T) {
	ca := certstest.NewCA(t, "our CA")
	f := ca.Files(acl.Hub, "hub")
	d := open(t, *f.Listener())
	c := ca.Client(ca.Node(acl.Client, "c"))
	c.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	for range 3 {
		conn, err := tls.Dial("tcp", d.http, c)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n")
		if _, err := io.ReadAll(conn); err != nil { // tickets come with the answer
			t.Fatal(err)
		}
		if conn.ConnectionState().DidResume {
			t.Error("a session was resumed")
		}
		_ = conn.Close()
	}
	f.Trust(certstest.NewCA(t, "new CA"))
	if err := d.store.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.get(c); err == nil {
		t.Error("a session outlived its CA")
	}
}

// TestExpiryIsForetold: once for each certificate.
func TestExpiryIsForetold(t *testing.T) {
	ca := certstest.NewCA(t, "our CA")
	f := ca.Files(acl.Hub, "hub")
	var now atomic.Int64
	book := &logBook{}
	s, err := certs.Listening("tls of the test", f.TLS, certs.Options{
		Logger: book.logger(), Interval: time.Hour, Clock: func() time.Time { return time.Now().Add(time.Duration(now.Load())) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, at := range []struct{ days, warnings int }{{0, 0}, {250, 0}, {300, 1}, {330, 1}, {370, 2}, {380, 2}} {
		now.Store(int64(at.days) * 24 * int64(time.Hour))
		if err := s.Reload(); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(book.String(), "certificate needs care"); n != at.warnings {
			t.Errorf("after %d days: %d warnings", at.days, n)
		}
	}
}

// TestRotationUnderLoad replaces certificates and CAs of both ends, again and again, in the
// order that an operator has to keep: trust the new CA, use its certificates, distrust
// the old CA. Every request on a new connection succeeds, and streams that are up stay so.
func TestRotationUnderLoad(t *testing.T) {
	const rounds = 5
	ca := certstest.NewCA(t, "CA 0")
	hub, edge := ca.Files(acl.Hub, "hub"), ca.Files(acl.Relayer, "edge")
	d := open(t, *hub.Listener())
	dialler, err := certs.Dialling("tls of upstream", edge.TLS, certs.Options{Interval: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer dialler.Close()

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream := d.watch(ctx, t, dialler.ClientCredentials())

	var wg sync.WaitGroup
	var requests atomic.Int64
	busy := make(chan struct{})
	work := func(request func() error) {
		wg.Go(func() {
			for {
				select {
				case <-busy:
					return
				default:
				}
				if err := request(); err != nil {
					t.Errorf("after %d requests: %v", requests.Load(), err)
					return
				}
				requests.Add(1)
			}
		})
	}
	work(func() error { return d.call(t, dialler.ClientCredentials()) })
	work(func() error { _, err := d.get(fresh(t, edge)); return err })
	work(func() error { _, err := d.get(fresh(t, edge)); return err })

	// some lets a few requests pass, so that each state is met by some.
	some := func() {
		n := requests.Load()
		await(t, "requests go on", func() bool { return requests.Load() > n+6 || t.Failed() })
	}
	reload := func() {
		for _, s := range []*certs.Store{d.store, dialler} {
			if err := s.Reload(); err != nil {
				t.Error(err)
			}
		}
		some()
	}
	for round := range rounds {
		next := certstest.NewCA(t, fmt.Sprintf("CA %d", round+1))
		hub.Trust(ca, next)
		edge.Trust(ca, next)
		reload()
		pair, edgePair := next.Node(acl.Hub, "hub"), next.Node(acl.Relayer, "edge")
		hub.Write(hub.CertFile, pair.CertPEM) // for a moment it has the old key
		some()
		hub.Write(hub.KeyFile, pair.KeyPEM)
		edge.Put(edgePair)
		reload()
		hub.Trust(next)
		edge.Trust(next)
		reload()
		ca = next
	}
	close(busy)
	wg.Wait()
	if err := stream(); err != nil {
		t.Errorf("the stream that was up: %v", err)
	}
	t.Logf("%d requests on new connections", requests.Load())
	if got := d.store.Status().Fingerprint; got == "" || strings.Contains(d.log.String(), "connection refused") {
		t.Errorf("status %+v, log:\n%s", d.store.Status(), d.log)
	}
}

// watch makes a stream. What it returns says whether that is still up.
func (d *doors) watch(ctx context.Context, t *testing.T, creds credentials.TransportCredentials) func() error {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+d.grpc, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	stream, err := healthv1.NewHealthClient(conn).Watch(ctx, &healthv1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { _, err := stream.Recv(); ended <- err }()
	return func() error {
		select {
		case err := <-ended:
			return err
		default:
			_, err := healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{})
			return err
		}
	}
}

// fresh is what a client makes of its files at each connection. Between two of them it
// may find a certificate and another's key: then it looks again.
func fresh(t *testing.T, f certstest.Files) *tls.Config {
	t.Helper()
	var pair tls.Certificate
	await(t, "the client's files fit", func() (ok bool) {
		var err error
		pair, err = tls.LoadX509KeyPair(f.CertFile, f.KeyFile)
		return err == nil
	})
	ca, err := os.ReadFile(f.CAFile)
	if err != nil {
		t.Error(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool, Certificates: []tls.Certificate{pair}}
}
