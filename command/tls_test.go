package command

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/unisondb/unisondb/server"
	"github.com/unisondb/unisondb/server/config"
	"github.com/unisondb/unisondb/server/servertest"
)

// TestCertificatesOfTheCommandsWork: what the tls commands make secures a node and the commands
// that talk to it, from the configuration file on.
func TestCertificatesOfTheCommandsWork(t *testing.T) {
	h := newHarness(t, success)
	dir := t.TempDir()
	for _, args := range []string{"ca create", "cert create -hub -name=hub", "cert create -client -name=me"} {
		madeOf(t, h.run(append([]string{"tls"}, strings.Fields(args+" -json -out="+dir)...)...))
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	text := hcl(t, `
data_dir = "`+filepath.Join(t.TempDir(), "hub")+`"
node_id  = "hub"
listener "http" {
  address = "127.0.0.1:0"
  tls {
    cert_file           = "`+at("hub.crt")+`"
    key_file            = "`+at("hub.key")+`"
    ca_file             = "`+at("ca.crt")+`"
    require_client_cert = true
  }
}
listener "grpc" { address = "127.0.0.1:0" }
namespace "default" {}
`)
	cfg, err := config.Load([]string{text}, config.LoadOptions{Role: config.RoleHub})
	if err != nil {
		t.Fatal(err)
	}
	hub := servertest.Run(t, server.RoleHub, *cfg)
	h.env[envAddress] = "https://" + hub.Addresses().HTTP
	me := []string{"-ca-file=" + at("ca.crt"), "-cert-file=" + at("me.crt"), "-key-file=" + at("me.key")}
	h.run(append([]string{"kv", "put", "k", "v"}, me...)...).want(t, exitDone, "", `"k" at position`)
	h.run(append([]string{"kv", "get", "k"}, me...)...).want(t, exitDone, "v")

	if s := h.run(append([]string{"status"}, me...)...).stdout; !strings.Contains(s, `tls of listener "http"  hub "hub" (issuer "CN=UnisonDB CA"`) || !strings.Contains(s, "VALID UNTIL") {
		t.Errorf("the status doesn't show the certificate:\n%s", s)
	}

	h.run("kv", "put", "k", "v").want(t, exitFailed, "", "is not trusted", "-ca-file")
	got := h.run("kv", "put", "k", "v", me[0])
	got.want(t, exitFailed, "", "the node refuses the client's certificate: it wants one", "-cert-file and -key-file")
	if strings.Contains(got.stderr, "written") {
		t.Errorf("nothing was written: %s", got.stderr)
	}
	h.run("kv", "put", "k", "v", "-address=http://"+hub.Addresses().HTTP).want(t, exitFailed, "", "write the address with https://")
}
