package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/unisondb/unisondb/sdk/notifier"
	"github.com/unisondb/unisondb/sdk/plugin"
)

// authority signs certificates for a test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	der  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	a.key = newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	var err error
	if a.der, err = x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key); err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(a.der); err != nil {
		t.Fatal(err)
	}
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue signs a certificate for loopback.
func (a *authority) issue(name string) (cert, key *pem.Block) {
	a.t.Helper()
	private := newKey(a.t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &private.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	encoded, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		a.t.Fatal(err)
	}
	return &pem.Block{Type: "CERTIFICATE", Bytes: der}, &pem.Block{Type: "EC PRIVATE KEY", Bytes: encoded}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

func (a *authority) block() *pem.Block { return &pem.Block{Type: "CERTIFICATE", Bytes: a.der} }

// secureReceiver is a receiver with a certificate of the authority.
func (a *authority) secureReceiver(change func(*tls.Config)) *receiver {
	a.t.Helper()
	cert, key := a.issue("receiver")
	pair, err := tls.X509KeyPair(pem.EncodeToMemory(cert), pem.EncodeToMemory(key))
	if err != nil {
		a.t.Fatal(err)
	}
	r := &receiver{}
	r.Server = httptest.NewUnstartedServer(r)
	r.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	r.Config.ErrorLog = discardLog()
	if change != nil {
		change(r.TLS)
	}
	r.StartTLS()
	a.t.Cleanup(r.Close)
	r.caFile = writePEM(a.t, "ca.pem", a.block())
	return r
}

// TestTrust sends nothing to a receiver that can't prove who it is, and waits for
// one that can.
func TestTrust(t *testing.T) {
	right, wrong := newAuthority(t), newAuthority(t)
	r := right.secureReceiver(nil)
	for name, config := range map[string]map[string]any{
		"the system's authorities": {"tls": map[string]any{}},
		"another authority":        {"tls": map[string]any{"ca_file": writePEM(t, "ca.pem", wrong.block())}},
		"another name":             {"url": strings.Replace(r.URL, "127.0.0.1", "localhost", 1)},
	} {
		result := notify(t, notifierOf(t, r, config), batchOf("a"))
		if got := causes(result, 1); got[0] != notifier.Unavailable || !strings.Contains(result.Rejected[0].Reason, "certificate") {
			t.Errorf("%s: %+v", name, result)
		}
	}
	if n := len(r.requests()); n != 0 {
		t.Fatalf("%d requests were sent", n)
	}
	if result := notify(t, notifierOf(t, r, nil), batchOf("a")); len(result.Rejected) != 0 {
		t.Errorf("its own authority: %+v", result)
	}
}

// TestOldTLS isn't spoken.
func TestOldTLS(t *testing.T) {
	a := newAuthority(t)
	for version, ok := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		r := a.secureReceiver(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, version })
		result := notify(t, notifierOf(t, r, nil), batchOf("a"))
		if (len(result.Rejected) == 0) != ok {
			t.Errorf("%s: %+v", tls.VersionName(version), result)
		}
	}
}

// TestClientCertificate shows one where it is asked for; when the files change,
// the next request shows the new one.
func TestClientCertificate(t *testing.T) {
	a := newAuthority(t)
	r := a.secureReceiver(func(c *tls.Config) { c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, a.pool() })
	names := make(chan string, 10)
	r.Server.Config.Handler = http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		names <- req.TLS.PeerCertificates[0].Subject.CommonName
	})
	if result := notify(t, notifierOf(t, r, nil), batchOf("a")); causes(result, 1)[0] != notifier.Unavailable {
		t.Errorf("without a certificate: %+v", result)
	}

	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	put := func(cert, key *pem.Block) {
		t.Helper()
		for path, block := range map[string]*pem.Block{certFile: cert, keyFile: key} {
			if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	put(a.issue("first"))
	w := notifierOf(t, r, map[string]any{"tls": map[string]any{"ca_file": r.caFile, "cert_file": certFile, "key_file": keyFile}})
	send := func(want string) {
		t.Helper()
		if result := notify(t, w, batchOf("a")); len(result.Rejected) != 0 {
			t.Fatalf("%+v", result)
		}
		if got := <-names; got != want {
			t.Errorf("the receiver sees %s, expected %s", got, want)
		}
	}
	send("first")
	// A certificate whose key hasn't been written yet is left alone.
	second, key := a.issue("second certificate")
	if err := os.WriteFile(certFile, pem.EncodeToMemory(second), 0o600); err != nil {
		t.Fatal(err)
	}
	send("first")
	put(second, key)
	later := time.Now().Add(time.Hour) // whatever the file system's clock can tell apart
	if err := os.Chtimes(keyFile, later, later); err != nil {
		t.Fatal(err)
	}
	send("second certificate")
}

// TestTLSProblems name the argument and say what to do.
func TestTLSProblems(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.issue("x")
	certFile, keyFile := writePEM(t, "cert.pem", cert), writePEM(t, "key.pem", key)
	_, other := a.issue("y")
	otherFile, noPEM := writePEM(t, "other.pem", other), filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(noPEM, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		tls  map[string]any
		path string
	}{
		{map[string]any{"ca_file": "/does/not/exist"}, "tls.ca_file"},
		{map[string]any{"ca_file": noPEM}, "tls.ca_file"},
		{map[string]any{"cert_file": certFile}, "tls"},
		{map[string]any{"key_file": keyFile}, "tls"},
		{map[string]any{"cert_file": certFile, "key_file": otherFile}, "tls.cert_file"},
		{map[string]any{"cert_file": noPEM, "key_file": keyFile}, "tls.cert_file"},
	} {
		config, err := plugin.NewConfig("x", map[string]any{"url": "https://example.com/", "tls": c.tls})
		if err != nil {
			t.Fatal(err)
		}
		problems, ok := new(webhook).Configure(t.Context(), config).(plugin.Problems)
		if !ok || len(problems) != 1 || problems[0].Path != c.path || !strings.Contains(problems[0].Message, ":") {
			t.Errorf("%v: the problems are %v", c.tls, problems)
		}
	}
}
