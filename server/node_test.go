package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/server"
	"github.com/unisondb/unisondb/server/config"
	"github.com/unisondb/unisondb/server/httpapi"
	"github.com/unisondb/unisondb/server/servertest"
)

// status asks a node for its state of a namespace.
func status(t *testing.T, n *servertest.Node, namespace string) httpapi.NamespaceStatus {
	t.Helper()
	var s httpapi.Status
	r := n.Do("GET", "/v1/status", nil)
	if err := json.Unmarshal(r.Body, &s); err != nil || r.Status != 200 {
		t.Fatalf("status: %d %v: %s", r.Status, err, r.Body)
	}
	for _, ns := range s.Namespaces {
		if ns.Name == namespace {
			return ns
		}
	}
	t.Fatalf("namespace %q isn't in the status: %s", namespace, r.Body)
	return httpapi.NamespaceStatus{}
}

// refused checks an error answer.
func refused(t *testing.T, r servertest.Response, code int, want string) {
	t.Helper()
	if r.Status != code || !strings.Contains(string(r.Body), `"code":"`+want+`"`) {
		t.Errorf("answered %d %s, want %d %s", r.Status, r.Body, code, want)
	}
}

// startFails starts a node that must refuse. Of want, a text is part of what it
// says, and an error is what it wraps.
func startFails(t *testing.T, role server.Role, cfg config.Config, want ...any) {
	t.Helper()
	n, err := server.New(cfg, server.Options{Role: role, Logger: servertest.Logger(t)})
	if err == nil {
		if err = n.Start(t.Context()); err == nil {
			_ = n.Shutdown(t.Context())
			t.Fatal("the node started")
		}
	}
	for _, w := range want {
		switch w := w.(type) {
		case string:
			if !strings.Contains(err.Error(), w) {
				t.Errorf("the error doesn't say %q: %v", w, err)
			}
		case error:
			if !errors.Is(err, w) {
				t.Errorf("it isn't %v: %v", w, err)
			}
		}
	}
}

func TestAHubKeepsWhatItAcknowledged(t *testing.T) {
	hub := servertest.Hub(t, "hub", "default", "inventory")
	hub.WaitReady()
	p := hub.Put("default", "a", "one")
	hub.Put("inventory", "a", "other")
	before := status(t, hub, "default")
	hub.Restart()
	if got, _ := hub.Get("default", "a", p); got != "one" {
		t.Errorf("after a restart the value is %q", got)
	}
	if got, _ := hub.Get("inventory", "a", ""); got != "other" {
		t.Errorf("after a restart the other namespace's value is %q", got)
	}
	after := status(t, hub, "default")
	if after.Lineage != before.Lineage || after.Owner != "hub" || after.Role != "owner" || after.State != "serving" || after.Code != "" {
		t.Errorf("before %+v, after %+v", before, after)
	}
	hub.Put("default", "b", "two")
	if now := status(t, hub, "default"); now.Epoch <= before.Epoch {
		t.Errorf("the start didn't raise the epoch: %d, %d before", now.Epoch, before.Epoch)
	}
}

func TestNamespacesCreatedWhileRunningAreKept(t *testing.T) {
	hub := servertest.Hub(t, "hub")
	if r := hub.Do("POST", "/v1/namespaces", []byte(`{"name":"made"}`)); r.Status != 200 {
		t.Fatalf("%d %s", r.Status, r.Body)
	}
	refused(t, hub.Do("POST", "/v1/namespaces", []byte(`{"name":"made"}`)), 409, httpapi.CodeNamespaceExists)
	hub.Put("made", "a", "1")
	hub.Restart()
	if got, _ := hub.Get("made", "a", ""); got != "1" {
		t.Errorf("after a restart the value is %q", got)
	}
}

func TestLostNamespacesAreNotMadeAnew(t *testing.T) {
	hub := servertest.Hub(t, "hub", "default", "lost")
	hub.Put("lost", "a", "1")
	hub.Stop()
	dir := filepath.Join(hub.Config.DataDir, "namespaces", "lost")
	aside := filepath.Join(t.TempDir(), "aside")
	if err := os.Rename(dir, aside); err != nil {
		t.Fatal(err)
	}
	hub.Start()
	if s := status(t, hub, "lost"); s.State != "missing" || s.Code != httpapi.CodeNamespaceMissing || s.Reason == "" {
		t.Errorf("status is %+v", s)
	}
	for _, r := range []servertest.Response{
		hub.Do("PUT", "/api/v1/lost/kv/a", []byte(`{"value":""}`)), hub.Do("GET", "/api/v1/lost/kv/a", nil),
		hub.Do("POST", "/v1/namespaces", []byte(`{"name":"lost"}`)),
	} {
		refused(t, r, 503, httpapi.CodeNamespaceMissing)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the namespace was made anew: %v", err)
	}
	hub.Put("default", "a", "the others go on")
	hub.Stop()
	if err := os.Rename(aside, dir); err != nil {
		t.Fatal(err)
	}
	hub.Start()
	if got, _ := hub.Get("lost", "a", ""); got != "1" {
		t.Errorf("put back, the value is %q", got)
	}
}

func TestAnotherHistoryUnderTheNameIsRefused(t *testing.T) {
	a, b := servertest.Hub(t, "a", "default"), servertest.Hub(t, "b", "default")
	a.Put("default", "k", "a's")
	b.Put("default", "k", "b's")
	a.Stop()
	b.Stop()
	dir := filepath.Join(a.Config.DataDir, "namespaces", "default")
	if err := os.Rename(dir, filepath.Join(t.TempDir(), "aside")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(b.Config.DataDir, "namespaces", "default"), dir); err != nil {
		t.Fatal(err)
	}
	a.Start()
	for range 2 {
		refused(t, a.Do("GET", "/api/v1/default/kv/k", nil), 503, "LINEAGE_MISMATCH")
	}
	if s := status(t, a, "default"); s.State != "quarantined" || s.Code != "LINEAGE_MISMATCH" {
		t.Errorf("status is %+v", s)
	}
}

func TestADamagedNamespaceDegradesAlone(t *testing.T) {
	hub := servertest.Hub(t, "hub", "default", "bad")
	hub.Put("bad", "a", "1")
	hub.Stop()
	meta := filepath.Join(hub.Config.DataDir, "namespaces", "bad", "meta.json")
	if err := os.WriteFile(meta, []byte("no JSON"), 0o600); err != nil {
		t.Fatal(err)
	}
	hub.Start()
	hub.Put("default", "a", "1")
	refused(t, hub.Do("GET", "/api/v1/bad/kv/a", nil), 503, httpapi.CodeDamaged)
	refused(t, hub.Do("PUT", "/api/v1/bad/kv/a", []byte(`{"value":""}`)), 503, httpapi.CodeDamaged)
	if s := status(t, hub, "bad"); s.State != "quarantined" || s.Code != "DAMAGED" {
		t.Errorf("status is %+v", s)
	}
	if r := hub.Do("GET", "/metrics", nil); !strings.Contains(string(r.Body), `unisondb_namespace_state{namespace="bad",state="quarantined"} 1`) {
		t.Error("the metrics don't say that the namespace is quarantined")
	}
	refused(t, hub.Do("POST", "/v1/namespaces", []byte(`{"name":"bad"}`)), 409, httpapi.CodeNamespaceExists)
}

func TestPartsThatAreGoneMakeANamespaceMissing(t *testing.T) {
	for _, part := range []string{"meta.json", "wal"} {
		hub := servertest.Hub(t, "hub", "default", "lost")
		hub.Put("lost", "a", "1")
		hub.Stop()
		if err := os.RemoveAll(filepath.Join(hub.Config.DataDir, "namespaces", "lost", part)); err != nil {
			t.Fatal(err)
		}
		hub.Start()
		for range 2 {
			refused(t, hub.Do("PUT", "/api/v1/lost/kv/a", []byte(`{"value":""}`)), 503, httpapi.CodeNamespaceMissing)
			refused(t, hub.Do("GET", "/api/v1/lost/kv/a", nil), 503, httpapi.CodeNamespaceMissing)
		}
		if s := status(t, hub, "lost"); s.State != "missing" || s.Code != httpapi.CodeNamespaceMissing || s.Reason == "" {
			t.Errorf("without %s: status is %+v", part, s)
		}
		r := hub.Do("GET", "/ready", nil)
		refused(t, r, 503, httpapi.CodeNotReady)
		if !strings.Contains(string(r.Body), `"lost`) || !strings.Contains(string(r.Body), httpapi.CodeNamespaceMissing) {
			t.Errorf("without %s: the reasons are %s", part, r.Body)
		}
		hub.Put("default", "a", "the others go on")
	}
}

func TestAnOwnerOpensWhatNobodyAsksFor(t *testing.T) {
	hub := servertest.Hub(t, "hub", "default")
	hub.Stop()
	if err := os.WriteFile(filepath.Join(hub.Config.DataDir, "namespaces", "default", "meta.json"), []byte("no JSON"), 0o600); err != nil {
		t.Fatal(err)
	}
	hub.Start()
	servertest.WaitFor(t, "the namespace was opened without being asked for", func() bool {
		return strings.Contains(string(hub.Do("GET", "/ready", nil).Body), "DAMAGED")
	})
}

func TestStartRefusals(t *testing.T) {
	valid := func(t *testing.T) config.Config { return servertest.Config(t, "hub", "default") }
	// used is a configuration whose directory a hub has used.
	used := func(t *testing.T) config.Config {
		hub := servertest.Hub(t, "hub", "default")
		hub.Put("default", "a", "1")
		hub.Stop()
		return hub.Config
	}
	t.Run("not built", func(t *testing.T) {
		cfg := valid(t)
		cfg.ACL = true
		startFails(t, server.RoleHub, cfg, "acl", "isn't built")
		if _, err := os.Stat(cfg.DataDir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the data directory was touched: %v", err)
		}
	})
	t.Run("no data_dir", func(t *testing.T) {
		cfg := valid(t)
		cfg.DataDir = ""
		startFails(t, server.RoleHub, cfg, "data_dir")
	})
	t.Run("relayer without upstream", func(t *testing.T) {
		startFails(t, server.RoleRelayer, valid(t), "upstream")
	})
	t.Run("unknown role", func(t *testing.T) {
		startFails(t, "ruler", valid(t), "ruler")
	})
	t.Run("second process", func(t *testing.T) {
		hub := servertest.Hub(t, "hub", "default")
		cfg := hub.Config
		cfg.HTTP, cfg.GRPC = nil, nil
		startFails(t, server.RoleHub, cfg, cfg.DataDir, "another process", dbkernel.ErrLocked)
		hub.Put("default", "a", "the first one goes on")
	})
	t.Run("port taken", func(t *testing.T) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close() //nolint:errcheck // the test is over
		for _, kind := range []string{"http", "grpc"} {
			cfg := valid(t)
			map[string]*config.Listener{"http": cfg.HTTP, "grpc": cfg.GRPC}[kind].Address = ln.Addr().String()
			startFails(t, server.RoleHub, cfg, kind, ln.Addr().String(), "taken")
			// Everything was stopped again: the directory is free.
			cfg.HTTP, cfg.GRPC = &config.Listener{Address: "127.0.0.1:0"}, nil
			servertest.Run(t, server.RoleHub, cfg).Put("default", "a", "1")
		}
	})
	t.Run("unwritable directory", func(t *testing.T) {
		cfg := valid(t)
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		cfg.DataDir = filepath.Join(file, "data")
		startFails(t, server.RoleHub, cfg, cfg.DataDir, "check that")
	})
	t.Run("another node's directory", func(t *testing.T) {
		cfg := used(t)
		cfg.NodeID = "somebody-else"
		startFails(t, server.RoleHub, cfg, `"hub"`, "somebody-else", "data_dir")
	})
	t.Run("a relayer's directory", func(t *testing.T) {
		cfg := used(t)
		cfg.Relayer = &config.Relayer{Upstreams: []config.Upstream{{Name: "up", Addresses: []string{"127.0.0.1:1"}, Namespaces: []string{"default"}}}}
		startFails(t, server.RoleRelayer, cfg, "belongs to a hub")
	})
	t.Run("node.json is gone", func(t *testing.T) {
		cfg := used(t)
		if err := os.Remove(filepath.Join(cfg.DataDir, "node.json")); err != nil {
			t.Fatal(err)
		}
		startFails(t, server.RoleHub, cfg, "node.json", "restore")
	})
	t.Run("node.json is newer", func(t *testing.T) {
		cfg := used(t)
		change(t, cfg, `"version": 1`, `"version": 2`)
		before := tree(t, cfg.DataDir)
		startFails(t, server.RoleHub, cfg, "newer", "version 2", dbkernel.ErrNewerFormat)
		if after := tree(t, cfg.DataDir); after != before {
			t.Errorf("something was touched:\n%s\nbefore:\n%s", after, before)
		}
	})
	for name, c := range map[string][2]string{"another name": {`"hub"`, `"hut"`}, "no magic": {"unisondb-node", "unisondb-nude"}, "no JSON": {"{", ""}} {
		t.Run("node.json is damaged: "+name, func(t *testing.T) {
			cfg := used(t)
			change(t, cfg, c[0], c[1])
			startFails(t, server.RoleHub, cfg, "node.json", "restore", dbkernel.ErrDamaged)
		})
	}
}

// change edits node.json.
func change(t *testing.T, cfg config.Config, old, changed string) {
	t.Helper()
	name := filepath.Join(cfg.DataDir, "node.json")
	b, err := os.ReadFile(name)
	if err != nil || !strings.Contains(string(b), old) {
		t.Fatalf("%v: %s", err, b)
	}
	if err := os.WriteFile(name, []byte(strings.Replace(string(b), old, changed, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// tree describes every file below dir.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil {
			fmt.Fprintln(&b, path, info.Size(), info.ModTime(), info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestAHostNameMayChange(t *testing.T) {
	hub := servertest.Hub(t, "hub", "default")
	hub.Stop()
	host, err := os.Hostname()
	if err != nil {
		t.Skip("this machine has no host name")
	}
	hub.Config.NodeID = host // what a configuration without node_id resolves to
	hub.Start()
	if hub.ID() != "hub" {
		t.Errorf("the node calls itself %q", hub.ID())
	}
}

func TestAStopLosesNothing(t *testing.T) {
	hub := servertest.Hub(t, "hub", "default")
	const writers = 8
	acked := make([]int, writers)
	var wg, begun sync.WaitGroup
	begun.Add(writers)
	for w := range writers {
		wg.Go(func() {
			for i := 0; ; i++ {
				r, err := hub.Try("PUT", fmt.Sprintf("/api/v1/default/kv/%d-%d", w, i), []byte(`{"value":""}`))
				if err != nil || r.Status != 200 {
					if err == nil && !strings.Contains(string(r.Body), httpapi.CodeShuttingDown) {
						t.Errorf("a write was refused with %d %s", r.Status, r.Body)
					}
					return
				}
				acked[w] = i + 1
				if i == 20 {
					begun.Done()
				}
			}
		})
	}
	begun.Wait()
	hub.Stop()
	wg.Wait()
	hub.Start()
	for w, n := range acked {
		for i := range n {
			if _, found := hub.Get("default", fmt.Sprintf("%d-%d", w, i), ""); !found {
				t.Fatalf("write %d of writer %d was acknowledged and is gone", i, w)
			}
		}
	}
}

func TestShutdownCutsOffWhatTakesTooLong(t *testing.T) {
	hub := servertest.Hub(t, "hub", "default")
	p := hub.Put("default", "a", "1")
	parts := strings.Split(p, ":")
	future := parts[0] + ":" + parts[1] + ":1000000"
	waiting := make(chan error, 1)
	go func() {
		r, err := hub.Try("GET", "/api/v1/default/kv/a?wait=5m", nil, servertest.Header{Name: "X-Unisondb-At-Least", Value: future})
		if err == nil && r.Status == 200 {
			err = errors.New("the read was answered")
		} else {
			err = nil
		}
		waiting <- err
	}()
	servertest.WaitFor(t, "the read is under way", func() bool {
		r := hub.Do("GET", "/metrics", nil)
		return strings.Contains(string(r.Body), "unisondb_http_requests_in_flight 2")
	})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := hub.Shutdown(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("shutdown: %v", err)
	}
	if err := <-waiting; err != nil {
		t.Error(err)
	}
	hub.Stop()
	hub.Start()
	if got, _ := hub.Get("default", "a", p); got != "1" {
		t.Errorf("the value is %q", got)
	}
}

func TestStartAndShutdownInAnyOrder(t *testing.T) {
	cfg := servertest.Config(t, "hub", "default")
	n, err := server.New(cfg, server.Options{Role: server.RoleHub})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Shutdown(t.Context()); err != nil {
		t.Errorf("before the start: %v", err)
	}
	if err := n.Start(t.Context()); err == nil {
		t.Error("a node that was shut down started")
	}
	n, err = server.New(cfg, server.Options{Role: server.RoleHub})
	if err != nil {
		t.Fatal(err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := n.Start(canceled); !errors.Is(err, context.Canceled) {
		t.Errorf("with a canceled context: %v", err)
	}
	for range 2 {
		if err := n.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestMetricsOfANode(t *testing.T) {
	hub := servertest.Hub(t, "hub", "default")
	hub.Put("default", "a", "1")
	text := string(hub.Do("GET", "/metrics", nil).Body)
	for _, want := range []string{
		`unisondb_build_info{node_id="hub",role="hub",version="test"} 1`, `unisondb_commit_lsn{namespace="default"} `,
		`unisondb_http_requests_total{code="200",method="PUT",route="kv"} 1`, `unisondb_write_stall_seconds{namespace="default"} 0`,
		`unisondb_go_goroutines `, `unisondb_process_open_fds `,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s isn't in the metrics", want)
		}
	}
	cfg := servertest.Config(t, "quiet")
	cfg.Telemetry.Prometheus = false
	refused(t, servertest.Run(t, server.RoleHub, cfg).Do("GET", "/metrics", nil), http.StatusNotFound, httpapi.CodeRouteNotFound)
}
