// Package servertest runs nodes for tests: hubs and relayers in the test's own
// process, on free ports of the loopback interface, each with a temporary
// directory. It waits for conditions with deadlines and never for a while.
package servertest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/unisondb/unisondb/server"
	"github.com/unisondb/unisondb/server/certs/certstest"
	"github.com/unisondb/unisondb/server/config"
)

// Deadline is how long anything in a test may take; it is long because machines
// may be slow, and nothing waits for it in a test that passes.
const Deadline = 60 * time.Second

// Node is a hub or a relayer of a test. It is for the test's goroutine.
type Node struct {
	*server.Node
	Role   server.Role
	Config config.Config // used at the next Start
	Logger hclog.Logger  // used at the next Start; nil: the test's log
	// Load reads the configuration again for Reload; used at the next Start.
	Load func() (*config.Config, error)
	// ForwardHold is how long its requests wait for another hub; used at the next Start; 0: as in
	// production.
	ForwardHold time.Duration
	// Files are the node's certificates, of a secure one.
	Files certstest.Files

	t       testing.TB
	running bool
	client  *http.Client
}

// Config is a node's configuration with every default, a temporary directory
// and free ports.
func Config(t testing.TB, id string, namespaces ...string) config.Config {
	t.Helper()
	cfg, err := config.Load(nil, config.LoadOptions{Dev: true, Role: config.RoleHub})
	if err != nil {
		t.Fatalf("the default configuration: %v", err)
	}
	cfg.NodeID = id
	cfg.DataDir = filepath.Join(t.TempDir(), id)
	cfg.HTTP = &config.Listener{Address: "127.0.0.1:0"}
	cfg.GRPC = &config.Listener{Address: "127.0.0.1:0"}
	cfg.Namespaces = nil
	for _, name := range namespaces {
		cfg.Namespaces = append(cfg.Namespaces, config.Namespace{Name: name, Acks: "local", Storage: cfg.Storage})
	}
	return *cfg
}

// Hub starts a hub with namespaces. It stops at the end of the test.
func Hub(t testing.TB, id string, namespaces ...string) *Node {
	t.Helper()
	return Run(t, server.RoleHub, Config(t, id, namespaces...))
}

// Relayer starts a relayer of a hub or of another relayer. It stops before its
// upstream does.
func Relayer(t testing.TB, id string, upstream *Node, namespaces ...string) *Node {
	t.Helper()
	cfg := Config(t, id)
	cfg.Relayer = &config.Relayer{Upstreams: []config.Upstream{{
		Name: "up", Addresses: []string{upstream.Addresses().GRPC}, Namespaces: namespaces,
	}}}
	return Run(t, server.RoleRelayer, cfg)
}

// Run starts a node. It stops at the end of the test.
func Run(t testing.TB, role server.Role, cfg config.Config) *Node {
	t.Helper()
	return run(t, &Node{Role: role, Config: cfg}, &http.Transport{})
}

// RunNode starts a node whose fields a test has set. It stops at the end of the test.
func RunNode(t testing.TB, n *Node) *Node {
	t.Helper()
	return run(t, n, &http.Transport{})
}

// RunFiles starts a node on configuration files, which Reload reads again. It stops at
// the end of the test. Without a logger it logs to the test.
func RunFiles(t testing.TB, role server.Role, log hclog.Logger, paths ...string) *Node {
	t.Helper()
	load := func() (*config.Config, error) { return config.Load(paths, config.LoadOptions{Role: string(role)}) }
	cfg, err := load()
	if err != nil {
		t.Fatal(err)
	}
	return run(t, &Node{Role: role, Config: *cfg, Logger: log, Load: load}, &http.Transport{})
}

// run starts a node that its clients reach by a transport.
func run(t testing.TB, n *Node, transport http.RoundTripper) *Node {
	t.Helper()
	n.t, n.client = t, &http.Client{Transport: transport, Timeout: Deadline}
	n.Start()
	t.Cleanup(func() {
		n.Stop()
		n.client.CloseIdleConnections()
	})
	return n
}

// Start starts the node again after Stop, on the ports that it had.
func (n *Node) Start() {
	n.t.Helper()
	log := n.Logger
	if log == nil {
		log = Logger(n.t)
	}
	node, err := server.New(n.Config, server.Options{Role: n.Role, Logger: log.Named(n.Config.NodeID), Version: "test", Load: n.Load, ForwardHold: n.ForwardHold})
	if err != nil {
		n.t.Fatalf("node %s: %v", n.Config.NodeID, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), Deadline)
	defer cancel()
	if err := node.Start(ctx); err != nil {
		n.t.Fatalf("starting node %s: %v", n.Config.NodeID, err)
	}
	n.Node, n.running = node, true
	n.Config.HTTP = at(n.Config.HTTP, node.Addresses().HTTP)
	n.Config.GRPC = at(n.Config.GRPC, node.Addresses().GRPC)
}

// at is a listener on the port that it was given.
func at(l *config.Listener, address string) *config.Listener {
	if l == nil {
		return nil
	}
	moved := *l
	moved.Address = address
	return &moved
}

// Stop stops the node cleanly. It may be called twice.
func (n *Node) Stop() {
	n.t.Helper()
	if !n.running {
		return
	}
	n.running = false
	ctx, cancel := context.WithTimeout(context.Background(), Deadline)
	defer cancel()
	if err := n.Shutdown(ctx); err != nil {
		n.t.Errorf("stopping node %s: %v", n.Config.NodeID, err)
	}
}

// Restart stops the node and starts it again on its data and ports.
func (n *Node) Restart() {
	n.t.Helper()
	n.Stop()
	n.Start()
}

// URL is where the node's HTTP door is.
func (n *Node) URL() string {
	if n.Config.HTTP.TLS != nil {
		return "https://" + n.Addresses().HTTP
	}
	return "http://" + n.Addresses().HTTP
}

// Response is an answer with its body.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// Header is a header of a request.
type Header struct{ Name, Value string }

// Do sends a request. An answer that doesn't come is a failure of the test.
func (n *Node) Do(method, path string, body []byte, headers ...Header) Response {
	n.t.Helper()
	r, err := n.Try(method, path, body, headers...)
	if err != nil {
		n.t.Fatalf("%s %s on node %s: %v", method, path, n.Config.NodeID, err)
	}
	return r
}

// Try is Do for a node that may be down. It may be called from any goroutine.
func (n *Node) Try(method, path string, body []byte, headers ...Header) (Response, error) {
	req, err := http.NewRequestWithContext(context.Background(), method, n.URL()+path, bytes.NewReader(body))
	if err != nil {
		return Response{}, err
	}
	for _, h := range headers {
		req.Header.Set(h.Name, h.Value)
	}
	res, err := n.client.Do(req)
	if err != nil {
		return Response{}, err
	}
	defer res.Body.Close() //nolint:errcheck // it was read
	b, err := io.ReadAll(res.Body)
	return Response{res.StatusCode, res.Header, b}, err
}

// Put writes a value and returns the position of the write.
func (n *Node) Put(namespace, key, value string) string {
	n.t.Helper()
	r := n.Do(http.MethodPut, "/api/v1/"+namespace+"/kv/"+key, []byte(value), Header{"Content-Type", "application/octet-stream"})
	if r.Status != http.StatusOK {
		n.t.Fatalf("writing %s on node %s: %d %s", key, n.Config.NodeID, r.Status, r.Body)
	}
	return r.Header.Get("X-Unisondb-Position")
}

// Get reads a value from a state that includes the position, which may be empty.
func (n *Node) Get(namespace, key, position string) (value string, found bool) {
	n.t.Helper()
	var headers []Header
	if position != "" {
		headers = append(headers, Header{"X-Unisondb-At-Least", position})
	}
	r := n.Do(http.MethodGet, fmt.Sprintf("/api/v1/%s/kv/%s?raw=true&wait=%s", namespace, key, Deadline/2), nil, headers...)
	switch r.Status {
	case http.StatusOK:
		return string(r.Body), true
	case http.StatusNotFound:
		return "", false
	}
	n.t.Fatalf("reading %s on node %s: %d %s", key, n.Config.NodeID, r.Status, r.Body)
	return "", false
}

// WaitReady waits until the node says that it can serve.
func (n *Node) WaitReady() {
	n.t.Helper()
	WaitFor(n.t, "node "+n.Config.NodeID+" is ready", func() bool {
		r, err := n.Try(http.MethodGet, "/ready", nil)
		return err == nil && r.Status == http.StatusOK
	})
}

// WaitFor waits until condition holds, and fails the test at the deadline.
func WaitFor(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.NewTimer(Deadline)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("%v have passed, and it doesn't hold that %s", Deadline, what)
		}
	}
}

// Logger writes warnings and errors to the test's log.
func Logger(t testing.TB) hclog.Logger {
	w := &testWriter{t: t}
	t.Cleanup(w.end)
	return hclog.New(&hclog.LoggerOptions{Output: w, Level: hclog.Warn})
}
