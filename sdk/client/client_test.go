package client_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/unisondb/unisondb/sdk/client"
)

func TestAddresses(t *testing.T) {
	tests := []struct {
		config client.Config
		want   string // the address, or part of the error
		bad    bool
	}{
		{config: client.Config{}, want: "http://127.0.0.1:4000"},
		{config: client.Config{Address: "hub:4000"}, want: "http://hub:4000"},
		{config: client.Config{Address: "[::1]:4000"}, want: "http://[::1]:4000"},
		{config: client.Config{Address: "https://hub/"}, want: "https://hub"},
		{config: client.Config{Address: "http://proxy/a%2Fb/"}, want: "http://proxy/a%2Fb"},
		{config: client.Config{Address: "tcp://hub:4000"}, want: `scheme "tcp"`, bad: true},
		{config: client.Config{Address: "http://"}, want: "no host", bad: true},
		{config: client.Config{Address: "http://a b"}, want: "no URL", bad: true},
		{config: client.Config{Address: "http://hub?x=1"}, want: "more than scheme", bad: true},
		{config: client.Config{Address: "http://u:pw@hub"}, want: "more than scheme", bad: true},
		{config: client.Config{Address: "http://hub", CAFile: "ca.crt"}, want: "use https", bad: true},
		{config: client.Config{Address: "hub", CAFile: "/does/not/exist"}, want: "CA file", bad: true},
		{config: client.Config{Address: "hub", CertFile: "only.crt"}, want: "both", bad: true},
		{config: client.Config{Address: "https://hub", CAFile: "ca.crt", HTTPClient: http.DefaultClient}, want: "both set", bad: true},
	}
	for _, tt := range tests {
		c, err := client.New(tt.config)
		switch {
		case tt.bad && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%+v: got %v, want an error with %q", tt.config, err, tt.want)
		case !tt.bad && err != nil:
			t.Errorf("%+v: %v", tt.config, err)
		case !tt.bad && c.Address() != tt.want:
			t.Errorf("%+v: got %q, want %q", tt.config, c.Address(), tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "pw") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}

func TestTokenAndPathPrefix(t *testing.T) {
	node := newFakeNode(t, success)
	c, err := client.New(client.Config{Address: node.URL + "/db%2F1", Token: "s3cret", Namespace: "orders", UserAgent: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.KV().Delete(t.Context(), []byte("a/b")); err != nil {
		t.Fatal(err)
	}
	got := node.last(t)
	if got.uri != "/db%2F1/api/v1/orders/kv/a%2Fb" {
		t.Errorf("sent to %s", got.uri)
	}
	if got.header.Get("Authorization") != "Bearer s3cret" || got.header.Get("User-Agent") != "test" {
		t.Errorf("headers %v", got.header)
	}
}

// TestTLS talks to a node that wants a client certificate.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	ca := newCA(t)
	serverCert := ca.issue(t, "node")
	clientCert := ca.issue(t, "client")
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)

	server := httptest.NewUnstartedServer(success)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{serverCert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it tells of the stranger below
	server.StartTLS()
	t.Cleanup(server.Close)

	caFile := filepath.Join(dir, "ca.crt")
	writePEM(t, caFile, "CERTIFICATE", ca.cert.Raw)
	certFile, keyFile := filepath.Join(dir, "client.crt"), filepath.Join(dir, "client.key")
	writePEM(t, certFile, "CERTIFICATE", clientCert.Certificate[0])
	keyBytes, err := x509.MarshalPKCS8PrivateKey(clientCert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, keyFile, "PRIVATE KEY", keyBytes)

	c, err := client.New(client.Config{Address: server.Listener.Addr().String(), CAFile: caFile, CertFile: certFile, KeyFile: keyFile})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if _, err := c.KV().Delete(t.Context(), []byte("k")); err != nil {
		t.Errorf("with all files: %v", err)
	}

	stranger, err := client.New(client.Config{Address: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stranger.Close)
	if _, err := stranger.KV().Delete(t.Context(), []byte("k")); !errors.Is(err, client.ErrUnreachable) {
		t.Errorf("with an unknown CA: got %v, want ErrUnreachable", err)
	}

	if _, err := client.New(client.Config{Address: "hub", CAFile: keyFile}); err == nil || !strings.Contains(err.Error(), "no PEM certificate") {
		t.Errorf("a CA file without a certificate: %v", err)
	}
	if _, err := client.New(client.Config{Address: "hub", CertFile: certFile, KeyFile: caFile}); err == nil {
		t.Error("a key file without a key was taken")
	}
}

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newCA(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{cert, key}
}

func (ca authority) issue(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}
