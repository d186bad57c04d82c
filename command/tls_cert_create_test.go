package command

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/unisondb/unisondb/server/acl"
	"github.com/unisondb/unisondb/server/certs"
	"github.com/unisondb/unisondb/server/config"
)

func TestTLSCertCreate(t *testing.T) {
	h := newHarness(t, success)
	dir := t.TempDir()
	madeOf(t, h.run("tls", "ca", "create", "-out", dir, "-json"))
	ca, err := certs.LoadAuthority(filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for kind, args := range map[acl.Kind][]string{
		acl.Hub:     {"-dns=hub.example.com, hub", "-ip=10.0.0.7"},
		acl.Relayer: nil,
		acl.Client:  {"-days=7"},
	} {
		name := string(kind) + "-1"
		m := madeOf(t, h.run(append([]string{"tls", "cert", "create", "-" + string(kind), "-name=" + name, "-out", dir, "-json"}, args...)...))
		cert := load(t, m)
		if id, err := acl.OfCertificate(cert); err != nil || id != (acl.Identity{Kind: kind, Name: name}) {
			t.Errorf("%s: it is that of %v, %v", name, id, err)
		}
		if m.CertFile != filepath.Join(dir, name+".crt") || m.Fingerprint != certs.Fingerprint(cert.Raw) || !m.NotAfter.Equal(cert.NotAfter) {
			t.Errorf("%s: it prints %+v", name, m)
		}
		pool := x509.NewCertPool()
		pool.AddCert(ca.Certificate)
		if _, err := cert.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		hosts := []string{"localhost", "127.0.0.1", "::1", name}
		if kind == acl.Hub {
			hosts = append(hosts, "hub.example.com", "hub", "10.0.0.7")
		}
		for _, host := range hosts {
			if err := cert.VerifyHostname(host); (err == nil) != (kind != acl.Client) {
				t.Errorf("%s dialled as %s: %v", name, host, err)
			}
		}
		// It is taken to another machine, and must not pass for this one there.
		if host, err := os.Hostname(); err == nil && host != "localhost" && slices.Contains(cert.DNSNames, host) {
			t.Errorf("%s is good for the name of the machine that made it: %v", name, cert.DNSNames)
		}
		if info, err := os.Stat(m.KeyFile); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: the key: %v, %v", name, info.Mode(), err)
		}
	}
	if h.requestCount() != 0 {
		t.Error("a node was asked")
	}
	// What it made is what a node takes.
	s, err := certs.Listening("tls", config.TLS{
		CertFile: filepath.Join(dir, "hub-1.crt"), KeyFile: filepath.Join(dir, "hub-1.key"), CAFile: filepath.Join(dir, "ca.crt"), RequireClientCert: true,
	}, certs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()

	create := func(args ...string) result {
		return h.run(append([]string{"tls", "cert", "create", "-out", dir}, args...)...)
	}
	create("-hub", "-name=hub-1").want(t, exitFailed, "", "hub-1.crt exists already and isn't overwritten")
	create("-hub", "-name=long", "-days=36500").want(t, exitDone, "", "The certificate ends with its CA", "long.key are made")
	create("-name=x").want(t, exitUsage, "", "-hub, -relayer or -client")
	create("-hub", "-client", "-name=x").want(t, exitUsage, "", "exclude each other")
	create("-hub").want(t, exitUsage, "", "-name is missing")
	create("-hub", "-name=a/b").want(t, exitUsage, "", `"a/b" is no name`)
	create("-hub", "-name=x", "-ip=hub").want(t, exitUsage, "", "-ip=hub is no IP address")
	create("-hub", "-name=x", "-dns=hub:4001").want(t, exitUsage, "", "-dns=hub:4001 is no host name")
	create("-client", "-name=x", "-dns=hub").want(t, exitUsage, "", "nobody dials a client")
	create("-hub", "-name=x", "-days=-1").want(t, exitUsage, "", "-days=-1 is out of range")
	create("-hub", "-name=x", "-ca-cert", filepath.Join(dir, "no.crt")).want(t, exitFailed, "", "no.crt", "'unisondb tls ca create' makes one")
	create("-hub", "-name=x", "-ca-cert", filepath.Join(dir, "hub-1.crt"), "-ca-key", filepath.Join(dir, "hub-1.key")).
		want(t, exitFailed, "", "hub-1.crt: it isn't a CA")
	create("-hub", "-name=x", "-ca-key", filepath.Join(dir, "hub-1.key")).want(t, exitFailed, "", "isn't the key of cert_file")
}

func load(t *testing.T, m madeFiles) *x509.Certificate {
	t.Helper()
	a, err := os.ReadFile(m.CertFile)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(m.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := (&certs.Pair{CertPEM: a, KeyPEM: b}).TLS()
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf
}
