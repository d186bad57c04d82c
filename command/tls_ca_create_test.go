package command

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/unisondb/unisondb/server/certs"
)

// madeFiles is what -json prints of a certificate.
type madeFiles struct {
	CertFile    string    `json:"cert_file"`
	KeyFile     string    `json:"key_file"`
	Fingerprint string    `json:"fingerprint"`
	NotAfter    time.Time `json:"not_after"`
}

func madeOf(t *testing.T, r result) (m madeFiles) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.stdout), &m); err != nil || r.status != exitDone {
		t.Fatalf("status %d, %v; stdout %s, stderr %s", r.status, err, r.stdout, r.stderr)
	}
	return m
}

func TestTLSCACreate(t *testing.T) {
	h := newHarness(t, success)
	dir := t.TempDir()
	m := madeOf(t, h.run("tls", "ca", "create", "-out", dir, "-name=Example", "-days=30", "-json"))
	ca, err := certs.LoadAuthority(filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if m.CertFile != filepath.Join(dir, "ca.crt") || m.KeyFile != filepath.Join(dir, "ca.key") ||
		m.Fingerprint != certs.Fingerprint(ca.Certificate.Raw) || !m.NotAfter.Equal(ca.Certificate.NotAfter) {
		t.Errorf("it prints %+v", m)
	}
	if left := time.Until(ca.Certificate.NotAfter); left < 29*24*time.Hour || left > 31*24*time.Hour || ca.Certificate.Subject.CommonName != "Example" {
		t.Errorf("it is valid for %v, of %v", left, ca.Certificate.Subject)
	}
	if info, err := os.Stat(m.KeyFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v, %v", info.Mode(), err)
	}
	if h.requestCount() != 0 {
		t.Error("a node was asked")
	}

	h.run("tls", "ca", "create", "-out", dir).want(t, exitFailed, "", "ca.crt exists already and isn't overwritten")
	h.run("tls", "ca", "create", "-out", t.TempDir()).want(t, exitDone, "", "ca.crt and", "ca.key are made, valid until", "SHA-256 fingerprint: ")
	h.run("tls", "ca", "create", "-out", filepath.Join(dir, "no")).want(t, exitFailed, "", "check that the directory exists")
	h.run("tls", "ca", "create", "-out", dir, "-days=0").want(t, exitUsage, "", "-days=0 is out of range")
	h.run("tls", "ca", "create", "-name=").want(t, exitUsage, "", "-name is empty")
	h.run("tls", "ca", "create", "x").want(t, exitUsage, "", `"x" is too much`)
	h.run("tls", "ca").want(t, exitUsage, "", "unisondb tls ca needs a command")
}
