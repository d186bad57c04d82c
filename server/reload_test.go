package server_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/unisondb/unisondb/server"
	"github.com/unisondb/unisondb/server/config"
	"github.com/unisondb/unisondb/server/httpapi"
	"github.com/unisondb/unisondb/server/pluginhost"
	"github.com/unisondb/unisondb/server/servertest"
)

// hubFile writes a hub's configuration; more follows what every hub of a test has.
type hubFile struct {
	t          *testing.T
	path, data string
}

func newHubFile(t *testing.T) *hubFile {
	dir := t.TempDir()
	return &hubFile{t, filepath.Join(dir, "hub.hcl"), filepath.Join(dir, "data")}
}

func (f *hubFile) write(more string) {
	f.t.Helper()
	text := "data_dir   = \"" + f.data + "\"\nplugin_dir = \"" + f.data + "/plugins\"\n" +
		"listener \"http\" { address = \"127.0.0.1:0\" }\nlistener \"grpc\" { address = \"127.0.0.1:0\" }\nnamespace \"default\" {}\n" + more
	if err := os.WriteFile(f.path, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// reload asks for it over HTTP and answers what has changed.
func reload(t *testing.T, n *servertest.Node) []string {
	t.Helper()
	r := n.Do("POST", "/v1/reload", nil)
	var out struct {
		Success bool     `json:"success"`
		Changed []string `json:"changed"`
	}
	if err := json.Unmarshal(r.Body, &out); err != nil || r.Status != 200 || !out.Success {
		t.Fatalf("reload: %d %v: %s", r.Status, err, r.Body)
	}
	return out.Changed
}

// refusedReload wants a reload to be refused, with texts in the answer, and to change nothing.
func refusedReload(t *testing.T, n *servertest.Node, code string, want ...string) {
	t.Helper()
	r := n.Do("POST", "/v1/reload", nil)
	refused(t, r, 409, code)
	var out struct {
		Error string `json:"error"`
	}
	if err := json.Unmarshal(r.Body, &out); err != nil {
		t.Fatal(err)
	}
	for _, text := range append(want, "nothing was changed") {
		if !strings.Contains(out.Error, text) {
			t.Errorf("the answer doesn't say %q: %s", text, out.Error)
		}
	}
}

func TestReload(t *testing.T) {
	f := newHubFile(t)
	f.write("log { level = \"warn\" }\n")
	log := hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: testLog{t}})
	hub := servertest.RunFiles(t, server.RoleHub, log, f.path)

	if changed := reload(t, hub); len(changed) > 0 {
		t.Errorf("nothing was written, and %q has changed", changed)
	}
	f.write("log { level = \"error\" }\nnotifier \"absent\" \"x\" { namespaces = [\"default\"] }\nmodel \"missing\" { namespaces = [\"default\"] }\n")
	want := []string{"log level: error, was warn", `notifier "absent" "x": added`, `model "missing": added`}
	if changed := reload(t, hub); !slices.Equal(changed, want) {
		t.Errorf("changed %q, want %q", changed, want)
	}
	if log.IsWarn() || !log.IsError() {
		t.Error("the log's level hasn't changed")
	}
	wantPlugins(t, hub, "missing", "x")

	// Places are no part of what a block says.
	f.write("\n\nlog { level = \"error\" }\nnotifier \"absent\" \"x\" {\n  namespaces = [\"default\"]\n  max_batch = 7\n}\n")
	want = []string{`notifier "absent" "x": changed`, `model "missing": removed`}
	if changed := reload(t, hub); !slices.Equal(changed, want) {
		t.Errorf("changed %q, want %q", changed, want)
	}
	wantPlugins(t, hub, "x")
	f.write("\n\n\nlog { level = \"error\" }\nnotifier \"absent\" \"x\" {\n  namespaces = [\"default\"]\n  max_batch = 7\n}\n")
	if changed := reload(t, hub); len(changed) > 0 {
		t.Errorf("a line was moved, and %q has changed", changed)
	}
}

// TestReloadIsAllOrNothing: what can't change live is refused with where it stands and both
// values, and what could have changed doesn't.
func TestReloadIsAllOrNothing(t *testing.T) {
	f := newHubFile(t)
	f.write("")
	log := hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: testLog{t}})
	hub := servertest.RunFiles(t, server.RoleHub, log, f.path)

	f.write("log { level = \"error\" }\nstorage { segment_size = \"1MiB\" }\nnotifier \"absent\" \"x\" { namespaces = [\"default\"] }\nnamespace \"more\" {}\n")
	refusedReload(t, hub, httpapi.CodeConfigFixed,
		f.path+`:7: segment_size in storage was "16MiB" and is "1MiB"`, f.path+`:9: namespace "more" is new`, "restart the node")
	f.write("log { level = \"error\" }\nnotifier \"absent\" \"x\" { namespaces = [\"defa/ult\"] }\nacl { enabled = 7 }\n")
	refusedReload(t, hub, httpapi.CodeConfigInvalid, f.path+":7:39: ", f.path+":8:17: ")
	f.write("log { level = \"error\" }\nacl { enabled = true }\n")
	refusedReload(t, hub, httpapi.CodeConfigInvalid, "acl with enabled = true isn't built yet")
	if err := os.Remove(f.path); err != nil {
		t.Fatal(err)
	}
	refusedReload(t, hub, httpapi.CodeConfigInvalid, "no such file")

	if !log.IsInfo() {
		t.Error("the log's level has changed")
	}
	wantPlugins(t, hub)
	hub.Put("default", "a", "the node goes on")
	f.write("")
	if changed := reload(t, hub); len(changed) > 0 {
		t.Errorf("what was refused is remembered: %q has changed", changed)
	}
}

func TestReloadWithoutFiles(t *testing.T) {
	hub := servertest.Hub(t, "hub", "default")
	refused(t, hub.Do("POST", "/v1/reload", nil), 409, httpapi.CodeConfigInvalid)
}

func TestReloadOfANodeThatDoesNotRun(t *testing.T) {
	hub := servertest.Hub(t, "hub", "default")
	hub.Stop()
	var e *httpapi.Error
	if _, err := hub.Reload(t.Context()); !errors.As(err, &e) || e.Code != httpapi.CodeNotReady {
		t.Errorf("after the stop: %v", err)
	}
	n, err := server.New(hub.Config, server.Options{Role: server.RoleHub})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Reload(t.Context()); !errors.As(err, &e) || e.Code != httpapi.CodeNotReady {
		t.Errorf("before the start: %v", err)
	}
}

// TestReloadIsTold: who wants to know of reloads hears of each when it begins and what has become of it.
func TestReloadIsTold(t *testing.T) {
	f := newHubFile(t)
	f.write("")
	load := func() (*config.Config, error) {
		return config.Load([]string{f.path}, config.LoadOptions{Role: config.RoleHub})
	}
	cfg, err := load()
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	hub, err := server.New(*cfg, server.Options{Role: server.RoleHub, Load: load, Reloading: func() func(error) {
		told = append(told, "begins")
		return func(err error) { told = append(told, fmt.Sprintf("failed: %v", err != nil)) }
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hub.Reload(t.Context()); err == nil { // it doesn't run: nothing begins
		t.Error("a node that doesn't run reloads")
	}
	if err := hub.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := hub.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	if want := "hub " + hub.ID() + ": 1 namespace; HTTP on " + hub.Addresses().HTTP + ", gRPC on " + hub.Addresses().GRPC + "."; hub.Summary() != want {
		t.Errorf("summary %q, want %q", hub.Summary(), want)
	}
	if _, err := hub.Reload(t.Context()); err != nil {
		t.Error(err)
	}
	f.write("nonsense = 1\n")
	if _, err := hub.Reload(t.Context()); err == nil {
		t.Error("nonsense is taken")
	}
	if want := []string{"begins", "failed: false", "begins", "failed: true"}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}

// TestDevReload: a development group with a configuration of its own reads it again.
func TestDevReload(t *testing.T) {
	f := newHubFile(t)
	f.write("")
	n := servertest.RunFiles(t, server.RoleHub, nil, f.path)
	n.Stop()
	d, err := server.NewDev(server.DevOptions{Dir: t.TempDir(), HTTP: "127.0.0.1:0", GRPC: "127.0.0.1:0", Config: &n.Config, Load: n.Load, Relayers: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	f.write("notifier \"absent\" \"x\" { namespaces = [\"default\"] }\n")
	changed, err := d.Reload(t.Context())
	if want := []string{`notifier "absent" "x": added`}; err != nil || !slices.Equal(changed, want) {
		t.Errorf("changed %q, %v, want %q", changed, err, want)
	}
}

// wantPlugins wants the node to list these plugins, by name.
func wantPlugins(t *testing.T, n *servertest.Node, want ...string) {
	t.Helper()
	var names []string
	for _, p := range plugins(t, n) {
		names = append(names, p.Name)
	}
	if !slices.Equal(names, want) {
		t.Errorf("plugins are %q, want %q", names, want)
	}
}

// plugins are those that the node lists.
func plugins(t *testing.T, n *servertest.Node) []pluginhost.Status {
	t.Helper()
	var all []pluginhost.Status
	r := n.Do("GET", "/v1/plugins", nil)
	if err := json.Unmarshal(r.Body, &all); err != nil || r.Status != 200 {
		t.Fatalf("plugins: %d %v: %s", r.Status, err, r.Body)
	}
	return all
}

// testLog puts a log into the test's.
type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}
