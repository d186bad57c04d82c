// Package certstest makes certificates for tests: a CA in memory, and the files
// of tls blocks in the test's temporary directory.
package certstest

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/unisondb/unisondb/server/acl"
	"github.com/unisondb/unisondb/server/certs"
	"github.com/unisondb/unisondb/server/config"
)

// CA is an authority of a test.
type CA struct {
	*certs.Authority
	t testing.TB
}

// NewCA makes a CA.
func NewCA(t testing.TB, name string) *CA {
	t.Helper()
	now := time.Now()
	a, err := certs.NewAuthority(name, now, now.AddDate(1, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	return &CA{a, t}
}

// Issue signs a certificate. One without names is good for this machine's own.
func (ca *CA) Issue(r certs.Request) *certs.Pair {
	ca.t.Helper()
	if r.DNSNames == nil && r.IPs == nil {
		r.DNSNames, r.IPs = certs.LoopbackNames()
	}
	pair, err := ca.Authority.Issue(r, time.Now())
	if err != nil {
		ca.t.Fatal(err)
	}
	return pair
}

// Node signs the certificate of a node or client.
func (ca *CA) Node(kind acl.Kind, name string) *certs.Pair {
	ca.t.Helper()
	return ca.Issue(certs.Request{Identity: acl.Identity{Kind: kind, Name: name}})
}

// Pool is the CA as others trust it.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.Certificate)
	return pool
}

// Files writes a certificate for a node or client, and the CA, into a directory of
// their own.
func (ca *CA) Files(kind acl.Kind, name string) Files {
	ca.t.Helper()
	f := NewFiles(ca.t)
	f.Put(ca.Node(kind, name))
	f.Trust(ca)
	return f
}

// Files are those of a tls block. Each is replaced as a whole, as tools for certificates do.
type Files struct {
	config.TLS
	t testing.TB
}

// NewFiles names files that don't exist yet.
func NewFiles(t testing.TB) Files {
	dir := t.TempDir()
	return Files{config.TLS{
		CertFile: filepath.Join(dir, "node.crt"), KeyFile: filepath.Join(dir, "node.key"), CAFile: filepath.Join(dir, "ca.crt"),
	}, t}
}

// Listener is the block of a listener that demands certificates.
func (f Files) Listener() *config.TLS {
	block := f.TLS
	block.RequireClientCert = true
	return &block
}

// Upstream is the block of an upstream.
func (f Files) Upstream() *config.TLS {
	block := f.TLS
	return &block
}

// Put replaces the certificate and its key.
func (f Files) Put(p *certs.Pair) {
	f.t.Helper()
	f.Write(f.CertFile, p.CertPEM)
	f.Write(f.KeyFile, p.KeyPEM)
}

// Trust replaces the CAs.
func (f Files) Trust(cas ...*CA) {
	f.t.Helper()
	var bundle [][]byte
	for _, ca := range cas {
		bundle = append(bundle, ca.CertPEM)
	}
	f.Write(f.CAFile, bytes.Join(bundle, nil))
}

// Write replaces one file.
func (f Files) Write(name string, b []byte) {
	f.t.Helper()
	if err := os.WriteFile(name+".new", b, 0o600); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		f.t.Fatal(err)
	}
}

// Client is what a program needs that connects to a node with a certificate; nil:
// without one.
func (ca *CA) Client(p *certs.Pair) *tls.Config {
	ca.t.Helper()
	c := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: ca.Pool()}
	if p == nil {
		return c
	}
	cert, err := p.TLS()
	if err != nil {
		ca.t.Fatal(err)
	}
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	return c
}
