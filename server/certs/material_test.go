package certs_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/unisondb/unisondb/server/acl"
	"github.com/unisondb/unisondb/server/certs"
	"github.com/unisondb/unisondb/server/certs/certstest"
	"github.com/unisondb/unisondb/server/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestFilesThatAreRefused: each error names the file and what is wrong with it.
func TestFilesThatAreRefused(t *testing.T) {
	ca := certstest.NewCA(t, "CA")
	now := time.Now()
	edge := acl.Identity{Kind: acl.Relayer, Name: "edge"}
	for _, tt := range []struct {
		name  string
		spoil func(f certstest.Files, block *config.TLS)
		want  []string
	}{
		{"no certificate file", func(f certstest.Files, _ *config.TLS) { remove(t, f.CertFile) },
			[]string{"cert_file", "node.crt", "no such file", "check the path"}},
		{"no key file", func(f certstest.Files, _ *config.TLS) { remove(t, f.KeyFile) },
			[]string{"key_file", "node.key", "no such file"}},
		{"no CA file", func(f certstest.Files, _ *config.TLS) { remove(t, f.CAFile) },
			[]string{"ca_file", "ca.crt", "no such file"}},
		{"a directory", func(f certstest.Files, b *config.TLS) { b.CAFile = filepath.Dir(f.CAFile) },
			[]string{"ca_file", "isn't a regular file"}},
		{"another key", func(f certstest.Files, _ *config.TLS) { f.Write(f.KeyFile, ca.Node(acl.Hub, "other").KeyPEM) },
			[]string{"key_file", "node.key", "isn't the key of cert_file", "node.crt"}},
		{"swapped", func(_ certstest.Files, b *config.TLS) { b.CertFile, b.KeyFile = b.KeyFile, b.CertFile },
			[]string{"cert_file", "node.key", "no certificate but PRIVATE KEY"}},
		{"key without a key", func(f certstest.Files, b *config.TLS) { b.KeyFile = f.CertFile },
			[]string{"key_file", "node.crt", "no private key but CERTIFICATE"}},
		{"no PEM", func(f certstest.Files, _ *config.TLS) { f.Write(f.CertFile, []byte("certificate")) },
			[]string{"cert_file", "no certificate in PEM form"}},
		{"key no PEM", func(f certstest.Files, _ *config.TLS) { f.Write(f.KeyFile, nil) },
			[]string{"key_file", "no private key in PEM form"}},
		{"encrypted key", func(f certstest.Files, _ *config.TLS) {
			f.Write(f.KeyFile, pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte{1}}))
		}, []string{"key_file", "encrypted"}},
		{"broken key", func(f certstest.Files, _ *config.TLS) {
			f.Write(f.KeyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}}))
		}, []string{"key_file", "node.key"}},
		{"broken certificate", func(f certstest.Files, _ *config.TLS) {
			f.Write(f.CertFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1}}))
		}, []string{"cert_file", "can't be read"}},
		{"cut short", func(f certstest.Files, _ *config.TLS) { f.Write(f.CertFile, ca.Node(acl.Hub, "h").CertPEM[:300]) },
			[]string{"cert_file", "cut short or damaged"}},
		// A block that can't be read mustn't be passed over: with it would go an intermediate, or
		// a CA whose nodes would be refused.
		{"chain cut short", func(f certstest.Files, _ *config.TLS) {
			p := ca.Node(acl.Hub, "h")
			f.Put(p)
			f.Write(f.CertFile, slices.Concat(p.CertPEM, ca.CertPEM[:300]))
		}, []string{"cert_file", "cut short or damaged"}},
		{"bundle with a damaged CA", func(f certstest.Files, _ *config.TLS) {
			other := certstest.NewCA(t, "other")
			damaged := bytes.Replace(other.CertPEM, []byte("M"), []byte("*"), 1)
			f.Write(f.CAFile, slices.Concat(ca.CertPEM, damaged, ca.CertPEM))
		}, []string{"ca_file", "1 of its 3 PEM blocks can't be read"}},
		{"DER", func(f certstest.Files, _ *config.TLS) { f.Write(f.CertFile, ca.Certificate.Raw) },
			[]string{"cert_file", "binary form", "convert it to PEM"}},
		{"key in DER", func(f certstest.Files, _ *config.TLS) {
			block, _ := pem.Decode(ca.KeyPEM)
			f.Write(f.KeyFile, block.Bytes)
		}, []string{"key_file", "binary form", "convert it to PEM"}},
		{"chain in the wrong order", func(f certstest.Files, _ *config.TLS) {
			p := ca.Node(acl.Hub, "h")
			f.Put(p)
			f.Write(f.CertFile, slices.Concat(ca.CertPEM, p.CertPEM))
		}, []string{"key_file", "isn't the key of cert_file", "comes first"}},
		{"expired", func(f certstest.Files, _ *config.TLS) {
			f.Put(ca.Issue(certs.Request{Identity: edge, NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(-time.Hour)}))
		}, []string{"cert_file", "node.crt", "expired on 2", "put a new certificate there"}},
		{"not yet valid", func(f certstest.Files, _ *config.TLS) {
			f.Put(ca.Issue(certs.Request{Identity: edge, NotBefore: now.Add(time.Hour)}))
		}, []string{"cert_file", "isn't valid before 2", "clock"}},
		{"a client's", func(f certstest.Files, _ *config.TLS) { f.Put(ca.Node(acl.Client, "c")) },
			[]string{"cert_file", "extended key usage", "servers"}},
		{"CA that is none", func(f certstest.Files, _ *config.TLS) { f.Write(f.CAFile, ca.Node(acl.Hub, "h").CertPEM) },
			[]string{"ca_file", "CN=h", "isn't a CA"}},
		{"expired CA", func(f certstest.Files, _ *config.TLS) { f.Trust(expiredCA(t)) },
			[]string{"ca_file", "no CA in it is valid now"}},
		{"CA without PEM", func(f certstest.Files, _ *config.TLS) { f.Write(f.CAFile, []byte("ca")) },
			[]string{"ca_file", "no certificate in PEM form"}},
		{"huge", func(f certstest.Files, _ *config.TLS) { f.Write(f.CAFile, make([]byte, 2<<20)) },
			[]string{"ca_file", "2097152 bytes"}},
		{"no key named", func(_ certstest.Files, b *config.TLS) { b.KeyFile = "" }, []string{"belong together"}},
		{"nothing named", func(_ certstest.Files, b *config.TLS) { b.CertFile, b.KeyFile = "", "" }, []string{"are missing"}},
		{"no CA named", func(_ certstest.Files, b *config.TLS) { b.CAFile = "" }, []string{"require_client_cert needs ca_file"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := ca.Files(acl.Hub, "hub")
			block := f.Listener()
			tt.spoil(f, block)
			s, err := certs.Listening(`tls of listener "grpc"`, *block, certs.Options{})
			if err == nil {
				s.Close()
				t.Fatal("it is taken")
			}
			for _, part := range append(tt.want, `tls of listener "grpc": `) {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("no %q in: %v", part, err)
				}
			}
		})
	}
}

// TestFilesThatAreTaken: an upstream needs no certificate of its own and no CA; a bundle
// may hold a CA that has expired.
func TestFilesThatAreTaken(t *testing.T) {
	ca := certstest.NewCA(t, "CA")
	f := ca.Files(acl.Relayer, "edge")
	f.Trust(expiredCA(t), ca)
	for _, block := range []config.TLS{{}, {CAFile: f.CAFile}, {CertFile: f.CertFile, KeyFile: f.KeyFile}, f.TLS} {
		s, err := certs.Dialling("upstream", block, certs.Options{})
		if err != nil {
			t.Errorf("%+v: %v", block, err)
			continue
		}
		st := s.Status()
		if st.Problem != "" || (st.Subject != "") != (block.CertFile != "") {
			t.Errorf("%+v: status %+v", block, st)
		}
		s.Close()
	}
}

// TestFormsOfFiles: what editors and tools of other systems add changes nothing.
func TestFormsOfFiles(t *testing.T) {
	ca, other := certstest.NewCA(t, "CA"), certstest.NewCA(t, "other CA")
	for name, form := range map[string]func([]byte) []byte{
		"CRLF":            func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n")) },
		"byte order mark": func(b []byte) []byte { return append([]byte("\ufeff"), b...) },
		"text around":     func(b []byte) []byte { return slices.Concat([]byte("Certificate:\n    Data:\n"), b, []byte("\nend\n")) },
		"no last newline": bytes.TrimSpace,
	} {
		t.Run(name, func(t *testing.T) {
			f, p := ca.Files(acl.Hub, "hub"), ca.Node(acl.Hub, "hub")
			f.Write(f.CertFile, form(p.CertPEM))
			f.Write(f.KeyFile, form(p.KeyPEM))
			f.Write(f.CAFile, form(slices.Concat(other.CertPEM, ca.CertPEM)))
			d, roots := open(t, *f.Listener()), ca.Pool()
			for _, ca := range []*certstest.CA{ca, other} {
				client := ca.Client(ca.Node(acl.Client, "c"))
				client.RootCAs = roots
				if _, err := d.get(client); err != nil {
					t.Errorf("a client of %v: %v", ca.Certificate.Subject, err)
				}
			}
		})
	}
}

func expiredCA(t *testing.T) *certstest.CA {
	t.Helper()
	now := time.Now()
	ca := certstest.NewCA(t, "old CA")
	a, err := certs.NewAuthority("old CA", now.Add(-2*time.Hour), now.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	ca.Authority = a
	return ca
}

func remove(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
}

func TestIssue(t *testing.T) {
	ca := certstest.NewCA(t, "CA")
	for kind, servers := range map[acl.Kind]bool{acl.Hub: true, acl.Relayer: true, acl.Client: false} {
		c := ca.Node(kind, "name-1").Certificate
		id, err := acl.OfCertificate(c)
		if err != nil || id != (acl.Identity{Kind: kind, Name: "name-1"}) || c.Subject.CommonName != "name-1" {
			t.Errorf("%s: %v, %v, %v", kind, id, c.Subject, err)
		}
		for usage, want := range map[x509.ExtKeyUsage]bool{x509.ExtKeyUsageClientAuth: true, x509.ExtKeyUsageServerAuth: servers} {
			_, err := c.Verify(x509.VerifyOptions{Roots: ca.Pool(), KeyUsages: []x509.ExtKeyUsage{usage}})
			if (err == nil) != want {
				t.Errorf("%s for usage %d: %v", kind, usage, err)
			}
		}
		for _, host := range []string{"localhost", "127.0.0.1", "::1"} {
			if err := c.VerifyHostname(host); (err == nil) != servers {
				t.Errorf("%s dialled as %s: %v", kind, host, err)
			}
		}
		if c.IsCA || c.NotAfter.After(ca.Certificate.NotAfter) {
			t.Errorf("%s: CA %v, valid until %v", kind, c.IsCA, c.NotAfter)
		}
	}
	if _, err := ca.Authority.Issue(certs.Request{Identity: acl.Identity{Kind: acl.Hub, Name: "a/b"}}, time.Now()); err == nil {
		t.Error("a name that is none is signed")
	}
	now := time.Now()
	if _, err := ca.Authority.Issue(certs.Request{Identity: acl.Identity{Kind: acl.Hub, Name: "a"}, NotBefore: now, NotAfter: now.Add(-1)}, now); err == nil {
		t.Error("a certificate that never holds is signed")
	}
}

func TestWriteOverwritesNothing(t *testing.T) {
	ca := certstest.NewCA(t, "CA")
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "a.crt"), filepath.Join(dir, "a.key")
	if err := ca.Write(cert, key); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v", info.Mode(), err)
	}
	before, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	other := certstest.NewCA(t, "other")
	if err := other.Write(cert, key); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("over both: %v", err)
	}
	remove(t, cert)
	if err := other.Write(cert, key); err == nil || !strings.Contains(err.Error(), "a.key exists already") {
		t.Errorf("over the key: %v", err)
	}
	if after, err := os.ReadFile(key); err != nil || string(after) != string(before) {
		t.Errorf("the key was overwritten (%v)", err)
	}
	if _, err := os.Stat(cert); err == nil {
		t.Error("a certificate without its key was written")
	}
	if err := other.Write(filepath.Join(dir, "no", "a.crt"), filepath.Join(dir, "no", "a.key")); err == nil || !strings.Contains(err.Error(), "check that the directory exists") {
		t.Errorf("in no directory: %v", err)
	}
	loaded, err := certs.LoadAuthority(filepath.Join(dir, "a.crt"), key, time.Now())
	if err == nil {
		t.Errorf("a CA without its certificate was loaded: %v", loaded.Certificate.Subject)
	}
	pair := ca.Node(acl.Hub, "h")
	if err := pair.Write(cert, filepath.Join(dir, "h.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := certs.LoadAuthority(cert, filepath.Join(dir, "h.key"), time.Now()); err == nil || !strings.Contains(err.Error(), "isn't a CA") {
		t.Errorf("a node's certificate was taken for a CA: %v", err)
	}
}
