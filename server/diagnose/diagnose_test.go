package diagnose_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/server/acl"
	"github.com/unisondb/unisondb/server/certs"
	"github.com/unisondb/unisondb/server/config"
	"github.com/unisondb/unisondb/server/diagnose"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// site is a machine with a node's files.
type site struct {
	t   *testing.T
	dir string
	now time.Time
	hcl string
}

func newSite(t *testing.T, hcl string) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir(), now: time.Now()}
	s.hcl = fmt.Sprintf("node_id = \"node-1\"\ndata_dir = %q\nplugin_dir = %q\n%s", s.data(), filepath.Join(s.dir, "plugins"), hcl)
	return s
}

func (s *site) data() string { return filepath.Join(s.dir, "data") }

func (s *site) write(name, content string, mode os.FileMode) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	err := os.MkdirAll(filepath.Dir(path), 0o700)
	if err == nil {
		err = os.WriteFile(path, []byte(content), mode)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return path
}

// serve opens the kernel as a node does, with a namespace that has a key, until the test ends
// or close is called.
func (s *site) serve() (closeNode func()) {
	s.t.Helper()
	o := dbkernel.Options{Dir: s.data()}
	o.Defaults.Storage.Engine = dbkernel.EngineBolt
	db, err := dbkernel.Open(o)
	if err != nil {
		s.t.Fatal(err)
	}
	n, err := db.Create("orders", dbkernel.Lineage{})
	if err == nil {
		var b dbkernel.Batch
		if err = b.Put([]byte("a"), []byte("1"), 0); err == nil {
			_, err = n.Write(s.t.Context(), &b)
		}
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return func() {
		if err := db.Close(); err != nil {
			s.t.Error(err)
		}
	}
}

func (s *site) run() diagnose.Report {
	s.t.Helper()
	return diagnose.Run(s.t.Context(), diagnose.Options{
		Config: []string{s.write("node.hcl", s.hcl, 0o600)}, Clock: func() time.Time { return s.now },
		Env: func(string) (string, bool) { return "", false }, Patience: 10 * time.Second,
	})
}

func step(t *testing.T, r diagnose.Report, name string) diagnose.Step {
	t.Helper()
	for _, s := range r.Steps {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("no step %q in %+v", name, r.Steps)
	return diagnose.Step{}
}

// want checks a step's state, and that one of its findings has the text.
func want(t *testing.T, r diagnose.Report, name string, state diagnose.State, text string) {
	t.Helper()
	s := step(t, r, name)
	if s.State != state {
		t.Errorf("%s is %s, expected %s: %+v", name, s.State, state, s.Findings)
	}
	for _, f := range s.Findings {
		if strings.Contains(f.Found, text) {
			if (f.Advice == "") != (f.State == diagnose.OK || f.State == diagnose.Skipped) {
				t.Errorf("advice on what is %s: %q", f.State, f.Advice)
			}
			return
		}
	}
	t.Errorf("%s found nothing that says %q: %+v", name, text, s.Findings)
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l := listen(t)
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	return l.Addr().String()
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestSoundNode(t *testing.T) {
	s := newSite(t, fmt.Sprintf("listener \"http\" { address = %q }\n", freeAddress(t)))
	closeNode := s.serve()
	r := s.run()
	want(t, r, "data directory", diagnose.OK, "a node runs")
	want(t, r, "namespaces", diagnose.Skipped, "a node runs on them")
	want(t, r, "ports", diagnose.Warn, "nobody answers")
	if !r.Running || r.NodeID != "node-1" || r.DataDir != s.data() {
		t.Errorf("%+v", r)
	}
	closeNode()
	r = s.run()
	want(t, r, "data directory", diagnose.OK, "no node runs")
	want(t, r, "namespaces", diagnose.OK, "orders: LSN 1 to 2")
	want(t, r, "ports", diagnose.OK, "is free")
	want(t, r, "clock", diagnose.OK, "nothing here was written later")
	// The kernel alone makes no node.json.
	want(t, r, "node.json", diagnose.Fail, "and namespaces are")
}

func TestConfiguration(t *testing.T) {
	s := newSite(t, "nonsense = 1\n")
	r := s.run()
	want(t, r, "configuration", diagnose.Fail, "nonsense")
	for _, name := range []string{"data directory", "ports", "certificates", "plugins", "other nodes"} {
		want(t, r, name, diagnose.Skipped, "isn't known")
	}
	if r.State != diagnose.Fail {
		t.Errorf("%+v", r)
	}
	r = diagnose.Run(t.Context(), diagnose.Options{Config: []string{filepath.Join(s.dir, "none.hcl")}})
	want(t, r, "configuration", diagnose.Fail, "none.hcl")
	r = diagnose.Run(t.Context(), diagnose.Options{DataDir: s.data()})
	want(t, r, "configuration", diagnose.Skipped, "no configuration is named")
	want(t, r, "data directory", diagnose.Warn, "never started here")
	want(t, r, "disk space", step(t, r, "disk space").State, "free of")
}

func TestDataDirectoryIsAFile(t *testing.T) {
	s := newSite(t, "")
	s.write("data", "", 0o600)
	want(t, s.run(), "data directory", diagnose.Fail, "is no directory")
}

func TestIdentity(t *testing.T) {
	s := newSite(t, "")
	// As the node writes it; the checksum is that of the node field.
	good := `{"magic":"unisondb-node","version":1,"checksum":"fbb408b9","node":{"node_id":"node-1","role":"hub","namespaces":{"lost":"00112233445566778899aabbccddeeff"}}}`
	s.write("data/node.json", good, 0o600)
	r := s.run()
	want(t, r, "node.json", diagnose.Fail, "namespace lost was made here")
	if found := fmt.Sprint(step(t, r, "node.json").Findings); strings.Contains(found, "checksum") {
		t.Errorf("the checksum isn't the node's: %s", found)
	}
	for text, content := range map[string]string{
		"checksum":              strings.Replace(good, "fbb408b9", "fbb408b0", 1),
		"version 2, this build": strings.Replace(good, `"version":1`, `"version":2`, 1),
		"no node's identity":    "{}",
		"no JSON":               "{",
	} {
		s.write("data/node.json", content, 0o600)
		want(t, s.run(), "node.json", diagnose.Fail, text)
	}
	s.hcl = strings.Replace(s.hcl, `"node-1"`, `"node-2"`, 1)
	s.write("data/node.json", good, 0o600)
	want(t, s.run(), "node.json", diagnose.Fail, "belongs to node node-1")
}

func TestDamagedNamespace(t *testing.T) {
	s := newSite(t, "")
	s.serve()()
	s.write("data/namespaces/orders/quarantine", "it has killed the process", 0o600)
	want(t, s.run(), "namespaces", diagnose.Fail, "it has killed the process")
	if err := os.Remove(filepath.Join(s.data(), "namespaces", "orders", "quarantine")); err != nil {
		t.Fatal(err)
	}
	s.write("data/namespaces/orders/wal/segment-00000001", "nonsense", 0o600)
	want(t, s.run(), "namespaces", diagnose.Fail, "orders: log")
}

func TestControlPlane(t *testing.T) {
	s := newSite(t, "")
	s.write("data/raft/raft.json", "{}", 0o600)
	want(t, s.run(), "control plane", diagnose.Fail, "log.db")
	s.write("data/raft/log.db", "", 0o600)
	want(t, s.run(), "control plane", diagnose.OK, "log.db")
	s.write("data/raft/snapshots/1-2-3/state.bin", "nonsense", 0o600)
	want(t, s.run(), "control plane", diagnose.Fail, "newest snapshot")
}

func TestSecretsThatOthersMayRead(t *testing.T) {
	s := newSite(t, "")
	s.write("data/relayer.json", "{}", 0o600)
	want(t, s.run(), "permissions", diagnose.OK, "all 2 files")
	if err := os.Chmod(filepath.Join(s.data(), "relayer.json"), 0o644); err != nil {
		t.Fatal(err)
	}
	want(t, s.run(), "permissions", diagnose.Warn, "relayer.json")
}

func TestPortIsTaken(t *testing.T) {
	l := listen(t)
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	s := newSite(t, fmt.Sprintf("listener \"http\" { address = %q }\n", l.Addr()))
	r := s.run()
	want(t, r, "ports", diagnose.Fail, "is taken by")
	if found := step(t, r, "ports").Findings[0].Found; !strings.Contains(found, fmt.Sprintf("process %d ", os.Getpid())) && !strings.Contains(found, "lsof") {
		t.Errorf("the process isn't named: %s", found)
	}
	s = newSite(t, "listener \"http\" {\n address = \"192.0.2.1:4000\"\n insecure = true\n}\n")
	want(t, s.run(), "ports", diagnose.Fail, "no address 192.0.2.1")
}

func TestPlugins(t *testing.T) {
	s := newSite(t, "namespace \"orders\" {\n notifier \"zeromq\" {\n bind_port = 5555\n }\n}\n")
	want(t, s.run(), "plugins", diagnose.Fail, "there is no program")
	program := s.write("plugins/notifier-zeromq", "#!/bin/sh\n", 0o700)
	sum := sha256.Sum256([]byte("#!/bin/sh\n"))
	want(t, s.run(), "plugins", diagnose.OK, hex.EncodeToString(sum[:]))
	s.hcl = strings.Replace(s.hcl, "bind_port", "sha256 = \""+strings.Repeat("0", 64)+"\"\n bind_port", 1)
	want(t, s.run(), "plugins", diagnose.Fail, "the configuration wants 0000")
	if err := os.Chmod(program, 0o600); err != nil {
		t.Fatal(err)
	}
	want(t, s.run(), "plugins", diagnose.Fail, "may not run")
}

func TestClock(t *testing.T) {
	s := newSite(t, "")
	s.serve()()
	s.now = time.Now().Add(-time.Hour)
	want(t, s.run(), "clock", diagnose.Warn, "in the future")
	s.now = time.Unix(0, 0)
	want(t, s.run(), "clock", diagnose.Fail, "1970")
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := diagnose.Run(ctx, diagnose.Options{DataDir: t.TempDir()})
	if len(r.Steps) != 12 || r.Steps[11].State != diagnose.Skipped {
		t.Errorf("%+v", r)
	}
}

// authority makes files of a CA and of certificates that it signs.
func (s *site) authority(name string) *certs.Authority {
	s.t.Helper()
	a, err := certs.NewAuthority(name, s.now.Add(-time.Hour), s.now.Add(10*365*24*time.Hour))
	if err == nil {
		err = a.Write(filepath.Join(s.dir, name+".crt"), filepath.Join(s.dir, name+".key"))
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return a
}

func (s *site) certificate(a *certs.Authority, name string, until time.Time) *certs.Pair {
	s.t.Helper()
	names, ips := certs.LoopbackNames()
	p, err := a.Issue(certs.Request{Identity: acl.Identity{Kind: acl.Hub, Name: name}, DNSNames: names, IPs: ips, NotBefore: s.now.Add(-time.Hour), NotAfter: until}, s.now.Add(-time.Hour))
	if err == nil {
		err = p.Write(filepath.Join(s.dir, name+".crt"), filepath.Join(s.dir, name+".key"))
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

func (s *site) tlsBlock(ca, name string) string {
	return fmt.Sprintf("tls {\n ca_file = %q\n cert_file = %q\n key_file = %q\n }\n",
		filepath.Join(s.dir, ca+".crt"), filepath.Join(s.dir, name+".crt"), filepath.Join(s.dir, name+".key"))
}

func TestCertificates(t *testing.T) {
	s := newSite(t, "")
	a := s.authority("ca")
	s.authority("other")
	s.certificate(a, "long", s.now.Add(365*24*time.Hour))
	s.certificate(a, "soon", s.now.Add(3*24*time.Hour))
	s.certificate(a, "over", s.now.Add(-time.Minute))
	plain := s.hcl
	for _, tt := range []struct {
		ca, name string
		state    diagnose.State
		text     string
	}{
		{"ca", "long", diagnose.OK, "is valid until"},
		{"ca", "soon", diagnose.Warn, "expires at"},
		{"ca", "over", diagnose.Fail, "has expired"},
		{"other", "long", diagnose.Warn, "is not of an authority"},
		{"ca", "none", diagnose.Fail, "none.crt"},
		{"none", "long", diagnose.Fail, "none.crt"},
	} {
		s.hcl = plain + "listener \"grpc\" {\n address = \"127.0.0.1:0\"\n " + s.tlsBlock(tt.ca, tt.name) + "}\n"
		want(t, s.run(), "certificates", tt.state, tt.text)
	}
}

// grpcServer is one without services.
func grpcServer(t *testing.T, o ...grpc.ServerOption) string {
	t.Helper()
	l := listen(t)
	g := grpc.NewServer(o...)
	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	t.Cleanup(func() {
		g.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func TestOtherNodes(t *testing.T) {
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	s := newSite(t, "")
	plain := s.hcl
	for _, tt := range []struct {
		address string
		state   diagnose.State
		text    string
	}{
		{grpcServer(t), diagnose.OK, "answers"},
		{freeAddress(t), diagnose.Fail, "refused"},
		{strings.TrimPrefix(web.URL, "http://"), diagnose.Fail, "doesn't speak gRPC"},
	} {
		s.hcl = plain + fmt.Sprintf("relayer {\n upstream \"hub\" {\n addresses = [%q]\n namespaces = [\"orders\"]\n }\n}\n", tt.address)
		want(t, s.run(), "other nodes", tt.state, tt.text)
	}
}

func TestOtherNodesWithTLS(t *testing.T) {
	s := newSite(t, "")
	a, other := s.authority("ca"), s.authority("other")
	s.certificate(a, "hub", s.now.Add(time.Hour))
	s.certificate(a, "edge", s.now.Add(time.Hour))
	s.certificate(other, "stranger", s.now.Add(time.Hour))
	address := grpcServer(t, grpc.Creds(s.mutual("ca", "hub")))
	plain := s.hcl
	for _, tt := range []struct {
		ca, name string
		state    diagnose.State
		text     string
	}{
		{"ca", "edge", diagnose.OK, "answers"},
		{"other", "edge", diagnose.Fail, "unknown authority"},
		{"ca", "stranger", diagnose.Fail, "refuses this node's certificate"},
	} {
		s.hcl = plain + fmt.Sprintf("relayer {\n upstream \"hub\" {\n addresses = [%q]\n namespaces = [\"orders\"]\n %s }\n}\n", address, s.tlsBlock(tt.ca, tt.name))
		want(t, s.run(), "other nodes", tt.state, tt.text)
	}
}

func (s *site) mutual(ca, name string) credentials.TransportCredentials {
	s.t.Helper()
	store, err := certs.Listening("tls of the test", config.TLS{
		CAFile: filepath.Join(s.dir, ca+".crt"), CertFile: filepath.Join(s.dir, name+".crt"), KeyFile: filepath.Join(s.dir, name+".key"), RequireClientCert: true,
	}, certs.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(store.Close)
	return store.ServerCredentials()
}
