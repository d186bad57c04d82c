package client_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/unisondb/unisondb/sdk/client"
)

// secureNode demands certificates. What it shows and whom it trusts can be changed.
type secureNode struct {
	*httptest.Server
	mu     sync.Mutex
	config *tls.Config
}

func newSecureNode(t *testing.T, ca authority) *secureNode {
	t.Helper()
	n := &secureNode{}
	n.use(t, ca)
	n.Server = httptest.NewUnstartedServer(success)
	n.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.config, nil
	}}
	n.Config.ErrorLog = log.New(io.Discard, "", 0)
	n.Config.SetKeepAlivesEnabled(false) // each request has a handshake
	n.StartTLS()
	t.Cleanup(n.Close)
	return n
}

// use shows a certificate of a CA and trusts it alone.
func (n *secureNode) use(t *testing.T, ca authority) {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.config = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{ca.issue(t, "node")}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
}

func writeKey(t *testing.T, path string, cert tls.Certificate) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, path, "PRIVATE KEY", der)
}

// TestTLSFilesAreReadAgain: a client that lives through a change of certificates and CA needs no
// restart, and isn't disturbed while only some of the files are replaced.
func TestTLSFilesAreReadAgain(t *testing.T) {
	dir := t.TempDir()
	caFile, certFile, keyFile := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "c.crt"), filepath.Join(dir, "c.key")
	ca := newCA(t)
	cert := ca.issue(t, "c")
	writePEM(t, caFile, "CERTIFICATE", ca.cert.Raw)
	writePEM(t, certFile, "CERTIFICATE", cert.Certificate[0])
	writeKey(t, keyFile, cert)
	node := newSecureNode(t, ca)
	c, err := client.New(client.Config{Address: node.URL, CAFile: caFile, CertFile: certFile, KeyFile: keyFile})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	try := func(when string) {
		t.Helper()
		if _, err := c.KV().Delete(t.Context(), []byte("k")); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	try("at first")
	other := newCA(t)
	next := other.issue(t, "c")
	writePEM(t, certFile, "CERTIFICATE", next.Certificate[0])
	try("with another's key")
	writePEM(t, caFile, "CERTIFICATE", other.cert.Raw)
	try("with the new CA alone")
	writeKey(t, keyFile, next)
	node.use(t, other)
	try("with the new files")
}

func TestTLSRefusalsInWords(t *testing.T) {
	dir := t.TempDir()
	caFile, certFile, keyFile := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "c.crt"), filepath.Join(dir, "c.key")
	ca := newCA(t)
	writePEM(t, caFile, "CERTIFICATE", ca.cert.Raw)
	stranger := newCA(t).issue(t, "c")
	writePEM(t, certFile, "CERTIFICATE", stranger.Certificate[0])
	writeKey(t, keyFile, stranger)
	node := newSecureNode(t, ca)
	for name, tt := range map[string]struct {
		config client.Config
		want   string
	}{
		"none":  {client.Config{Address: node.URL, CAFile: caFile}, "it wants one"},
		"wrong": {client.Config{Address: node.URL, CAFile: caFile, CertFile: certFile, KeyFile: keyFile}, "doesn't know who signed it"},
	} {
		c, err := client.New(tt.config)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.KV().Delete(t.Context(), []byte("k"))
		c.Close()
		// The server of this test resets connections where the client was faster; a node doesn't.
		if err == nil || !errors.Is(err, client.ErrCertificate) && !strings.Contains(err.Error(), "reset") && !strings.Contains(err.Error(), "broken pipe") {
			t.Errorf("%s: %v", name, err)
		}
		if errors.Is(err, client.ErrCertificate) && (!strings.Contains(err.Error(), tt.want) || !errors.Is(err, client.ErrUnreachable)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTLS13Only(t *testing.T) {
	old := httptest.NewUnstartedServer(success)
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS12}
	old.Config.ErrorLog = log.New(io.Discard, "", 0)
	old.StartTLS()
	t.Cleanup(old.Close)
	caFile := filepath.Join(t.TempDir(), "ca.crt")
	writePEM(t, caFile, "CERTIFICATE", old.Certificate().Raw)
	c, err := client.New(client.Config{Address: old.URL, CAFile: caFile})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if _, err := c.KV().Delete(t.Context(), []byte("k")); err == nil || !strings.Contains(err.Error(), "TLS 1.3") {
		t.Errorf("a server of TLS 1.2: %v", err)
	}
}
