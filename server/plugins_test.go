package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/unisondb/unisondb/sdk/datamodel"
	"github.com/unisondb/unisondb/sdk/notifier"
	"github.com/unisondb/unisondb/sdk/plugin"
	"github.com/unisondb/unisondb/server"
	"github.com/unisondb/unisondb/server/config"
	"github.com/unisondb/unisondb/server/httpapi"
	"github.com/unisondb/unisondb/server/pluginhost"
	"github.com/unisondb/unisondb/server/servertest"
)

// TestMain is the tests and the plugins that they run: links to the test binary, whose names
// say what they are.
func TestMain(m *testing.M) {
	if os.Getenv(plugin.Handshake.MagicCookieKey) == "" {
		goleak.VerifyTestMain(m)
		return
	}
	switch filepath.Base(os.Args[0]) {
	case "notifier-recorder":
		notifier.Serve(notifier.Program{Info: plugin.Info{Name: "recorder", Version: "1.0.0"}, Config: recorderConfig{}, Notifier: &recorder{}})
	case "notifier-picky":
		notifier.Serve(notifier.Program{Info: plugin.Info{Name: "picky", Version: "1.0.0"}, Notifier: picky{}})
	case "model-box":
		datamodel.Serve(datamodel.Program{
			Info: plugin.Info{Name: "box", Version: "1.0.0"}, Model: box{},
			Methods: []datamodel.Method{{Name: "put", Writes: true}, {Name: "get"}},
		})
	}
	syscall.Exit(0) // os.Exit takes a second under the race detector
}

type recorderConfig struct {
	File string `config:"file,required"`
}

// recorder appends each event to a file, a line of JSON each.
type recorder struct {
	mu   sync.Mutex
	file *os.File
}

func (r *recorder) Configure(_ context.Context, c plugin.Config) (err error) {
	var config recorderConfig
	if err := c.Decode(&config); err != nil {
		return err
	}
	r.file, err = os.OpenFile(config.File, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return plugin.Problems{{Path: "file", Message: err.Error()}}
	}
	return nil
}

func (r *recorder) Notify(_ context.Context, b notifier.Batch) (notifier.Result, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range b.Events {
		line, err := json.Marshal(b.Message(i))
		if err != nil {
			return notifier.Result{}, err
		}
		if _, err := r.file.Write(append(line, '\n')); err != nil {
			return notifier.Result{}, err
		}
	}
	return notifier.Result{}, nil
}

func (r *recorder) Close(context.Context) error { return r.file.Close() }

// picky can take nothing.
type picky struct{}

func (picky) Configure(context.Context, plugin.Config) error { return nil }

func (picky) Notify(_ context.Context, b notifier.Batch) (notifier.Result, error) {
	var r notifier.Result
	for i := range b.Events {
		r.Rejected = append(r.Rejected, notifier.Rejection{Event: i, Cause: notifier.Invalid, Reason: "not my taste"})
	}
	return r, nil
}

func (picky) Close(context.Context) error { return nil }

// box keeps one thing under each key: the first line of a request is the key.
type box struct{}

func (box) Configure(context.Context, plugin.Config, datamodel.Views) error { return nil }

func (box) Call(ctx context.Context, c datamodel.Call) (datamodel.Answer, error) {
	key, value, _ := bytes.Cut(c.Body, []byte("\n"))
	if c.Method == "put" {
		return datamodel.Answer{Body: []byte(`{}`), Operations: []datamodel.Operation{{Key: key, Value: value}}}, nil
	}
	items, p, err := c.View.Get(ctx, key)
	if err != nil {
		return datamodel.Answer{}, err
	}
	if items[0].Version == "" {
		return datamodel.Answer{}, &datamodel.Error{Status: 404, Code: "NO_THING", Message: "the box holds no such thing: put it in"}
	}
	return datamodel.Answer{Body: items[0].Value, ContentType: "text/plain", Position: p}, nil
}

func (box) Close(context.Context) error { return nil }

// pluginDir is a folder with these programs, which are this test's binary.
func pluginDir(t *testing.T, programs ...string) string {
	t.Helper()
	dir := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range programs {
		if err := link(exe, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// link makes a file of the same content, which is a copy where the file system has to.
func link(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // it was only read
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// recorded are the events in a recorder's file, each as "operation key lsn".
func recorded(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	var events []string
	for line := range strings.Lines(string(text)) {
		var e struct {
			Operation string `json:"operation"`
			Key       string `json:"key"`
			LSN       uint64 `json:"lsn"`
			Lineage   string `json:"lineage"`
		}
		if !strings.HasSuffix(line, "\n") {
			break // it is being written
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Lineage == "" {
			t.Fatalf("%v: %s", err, line)
		}
		events = append(events, fmt.Sprintf("%s %s %d", e.Operation, e.Key, e.LSN))
	}
	return events
}

// waitPlugin waits until a plugin is in a state, and answers it.
func waitPlugin(t *testing.T, n *servertest.Node, name string, state pluginhost.State) (found pluginhost.Status) {
	t.Helper()
	servertest.WaitFor(t, fmt.Sprintf("plugin %q is %s", name, state), func() bool {
		all := plugins(t, n)
		i := slices.IndexFunc(all, func(p pluginhost.Status) bool { return p.Name == name })
		if i >= 0 {
			found = all[i]
		}
		return i >= 0 && found.State == state
	})
	return found
}

func notifierBlock(kind, name, runOn string, args map[string]any, namespaces ...string) config.Notifier {
	return config.Notifier{Type: kind, Name: name, Namespaces: namespaces, RunOn: runOn, StartFrom: "oldest", Config: args}
}

// TestHubAndRelayerRunPlugins: each node runs its own, from its own log, and both tell the
// same of a change.
func TestHubAndRelayerRunPlugins(t *testing.T) {
	dir, files := pluginDir(t, "notifier-recorder", "model-box"), t.TempDir()
	onHub, onRelayer := filepath.Join(files, "hub"), filepath.Join(files, "relayer")
	cfg := servertest.Config(t, "hub", "default")
	cfg.PluginDir = dir
	cfg.Notifiers = []config.Notifier{notifierBlock("recorder", "default/recorder", "owner", map[string]any{"file": onHub}, "default")}
	cfg.Models = []config.Model{{Name: "box", Namespaces: []string{"default"}}}
	hub := servertest.Run(t, server.RoleHub, cfg)
	below := servertest.Config(t, "edge")
	below.Relayer = &config.Relayer{Upstreams: []config.Upstream{{Name: "up", Addresses: []string{hub.Addresses().GRPC}, Namespaces: []string{"default"}}}}
	below.PluginDir = dir
	below.Notifiers = []config.Notifier{notifierBlock("recorder", "mine", "every", map[string]any{"file": onRelayer}, "default")}
	below.Models = cfg.Models
	relayer := servertest.Run(t, server.RoleRelayer, below)

	for i := range 3 {
		hub.Put("default", fmt.Sprintf("k%d", i), "v")
	}
	waitPlugin(t, hub, "default/recorder", pluginhost.StateReady)
	if p := waitPlugin(t, relayer, "mine", pluginhost.StateReady); p.Version != "1.0.0" || p.PID == 0 || len(p.SHA256) != 64 {
		t.Errorf("plugin is %+v", p)
	}
	servertest.WaitFor(t, "both have told of three changes", func() bool { return len(recorded(t, onHub)) >= 3 && len(recorded(t, onRelayer)) >= 3 })
	if a, b := recorded(t, onHub), recorded(t, onRelayer); !slices.Equal(a, b) || !strings.HasPrefix(a[0], "put k0 ") || len(a) != 3 {
		t.Errorf("the hub told %q and the relayer %q", a, b)
	}

	waitPlugin(t, hub, "box", pluginhost.StateReady)
	waitPlugin(t, relayer, "box", pluginhost.StateReady)
	r := hub.Do("POST", "/api/v1/default/model/box/put", []byte("thing\nred"))
	if r.Status != 200 || r.Header.Get(httpapi.HeaderPosition) == "" {
		t.Fatalf("writing by the model: %d %s", r.Status, r.Body)
	}
	atLeast := servertest.Header{Name: httpapi.HeaderAtLeast, Value: r.Header.Get(httpapi.HeaderPosition)}
	for _, n := range []*servertest.Node{hub, relayer} {
		r := n.Do("POST", "/api/v1/default/model/box/get?wait=30s", []byte("thing"), atLeast)
		if r.Status != 200 || string(r.Body) != "red" || r.Header.Get("Content-Type") != "text/plain" || r.Header.Get(httpapi.HeaderPosition) == "" {
			t.Errorf("reading by the model on %s: %d %s %v", n.Config.NodeID, r.Status, r.Body, r.Header)
		}
		refused(t, n.Do("POST", "/api/v1/default/model/box/get", []byte("nothing")), 404, "NO_THING")
		refused(t, n.Do("POST", "/api/v1/default/model/box/none", nil), 404, httpapi.CodeMethodNotFound)
		refused(t, n.Do("POST", "/api/v1/default/model/none/get", nil), 404, httpapi.CodeModelNotFound)
	}
	refused(t, relayer.Do("POST", "/api/v1/default/model/box/put", []byte("thing\nblue")), 403, httpapi.CodeReadOnly)

	// A restart goes on where it stopped.
	hub.Restart()
	hub.Put("default", "last", "v")
	servertest.WaitFor(t, "both have told of the last change", func() bool {
		a, b := recorded(t, onHub), recorded(t, onRelayer)
		return strings.HasPrefix(a[len(a)-1], "put last ") && strings.HasPrefix(b[len(b)-1], "put last ")
	})
	metrics := string(relayer.Do("GET", "/metrics", nil).Body)
	for _, line := range []string{
		`unisondb_plugin_state{plugin="mine",state="ready",type="recorder"} 1`, `unisondb_plugin_restarts_total{plugin="mine",type="recorder"} 0`,
		`unisondb_notifier_dead_letters{namespace="default",plugin="mine"} 0`, `unisondb_notifier_lag_records{namespace="default",plugin="mine"} `,
		`unisondb_plugin_state{plugin="box",state="ready",type="box"} 1`,
	} {
		if !strings.Contains(metrics, "\n"+line) {
			t.Errorf("the metrics lack %s", line)
		}
	}
}

// TestBrokenPluginsHurtNobody: whatever is wrong with plugins, both nodes start, serve and
// replicate, and say what is wrong.
func TestBrokenPluginsHurtNobody(t *testing.T) {
	dir := pluginDir(t, "notifier-exits", "notifier-recorder", "notifier-picky")
	if err := os.WriteFile(filepath.Join(dir, "notifier-text"), []byte("#!/nothing\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	broken := []config.Notifier{
		notifierBlock("absent", "absent", "every", nil, "default"),
		notifierBlock("exits", "exits", "every", nil, "default"),
		notifierBlock("text", "text", "every", nil, "default"),
		notifierBlock("recorder", "misconfigured", "every", map[string]any{"flie": "x"}, "default"),
	}
	broken[3].Where = config.Places{"": "hub.hcl:7", "flie": "hub.hcl:9"}
	pinned := notifierBlock("recorder", "pinned", "every", map[string]any{"file": filepath.Join(dir, "x")}, "default")
	pinned.Program.SHA256 = strings.Repeat("0", 64)
	cfg := servertest.Config(t, "hub", "default")
	cfg.PluginDir, cfg.Notifiers = dir, slices.Concat(broken, []config.Notifier{pinned, notifierBlock("picky", "picky", "every", nil, "default")})
	cfg.Models = []config.Model{{Name: "missing", Namespaces: []string{"default"}}}
	hub := servertest.Run(t, server.RoleHub, cfg)
	below := servertest.Config(t, "edge")
	below.PluginDir, below.Notifiers = dir, broken[:2]
	below.Relayer = &config.Relayer{Upstreams: []config.Upstream{{Name: "up", Addresses: []string{hub.Addresses().GRPC}, Namespaces: []string{"default"}}}}
	relayer := servertest.Run(t, server.RoleRelayer, below)
	relayer.WaitReady()

	for i := range 20 {
		p := hub.Put("default", fmt.Sprintf("k%d", i), "v")
		if i == 19 {
			if got, _ := relayer.Get("default", "k19", p); got != "v" {
				t.Errorf("the relayer has %q", got)
			}
		}
	}
	reasons := map[string]string{"absent": "notifier-absent", "exits": "it ended before", "text": "chmod +x", "pinned": strings.Repeat("0", 64), "misconfigured": "hub.hcl:9"}
	for _, n := range []*servertest.Node{hub, relayer} {
		n.WaitReady()
		for _, c := range n.Config.Notifiers {
			if c.Name == "picky" {
				continue
			}
			if p := waitPlugin(t, n, c.Name, pluginhost.StateDegraded); !strings.Contains(p.Reason, reasons[c.Name]) {
				t.Errorf("%s says of %s: %q, want %q in it", n.Config.NodeID, c.Name, p.Reason, reasons[c.Name])
			}
		}
	}
	refused(t, hub.Do("POST", "/api/v1/default/model/missing/get", nil), 503, httpapi.CodePluginUnavailable)

	// What nobody takes is set aside, and can be listed and tried again.
	servertest.WaitFor(t, "everything is a dead letter", func() bool {
		p := waitPlugin(t, hub, "picky", pluginhost.StateReady)
		return len(p.Namespaces) == 1 && p.Namespaces[0].DeadLetters == 20
	})
	var letters []struct {
		ID     string `json:"id"`
		Reason string `json:"reason"`
		Event  struct {
			Key string `json:"key"`
		} `json:"event"`
	}
	r := hub.Do("GET", "/v1/plugins/picky/dead-letters", nil)
	if err := json.Unmarshal(r.Body, &letters); err != nil || len(letters) != 20 || letters[0].Event.Key != "k0" || letters[0].Reason != "not my taste" {
		t.Errorf("dead letters: %v %d %s", err, r.Status, r.Body)
	}
	r = hub.Do("POST", "/v1/plugins/picky/dead-letters/retry", []byte(`{"ids":["`+letters[0].ID+`"]}`))
	if r.Status != 200 || string(r.Body) != "{\"accepted\":0,\"left\":1}\n" {
		t.Errorf("retry: %d %s", r.Status, r.Body)
	}
	refused(t, hub.Do("POST", "/v1/plugins/picky/dead-letters/retry", []byte(`{"ids":["none"]}`)), 404, httpapi.CodeDeadLetterNotFound)
}

// TestAPluginIsMendedWhileTheNodeRuns: its program comes, and a reload of the plugin starts it.
func TestAPluginIsMendedWhileTheNodeRuns(t *testing.T) {
	dir, file := pluginDir(t), filepath.Join(t.TempDir(), "events")
	cfg := servertest.Config(t, "hub", "default")
	cfg.PluginDir = dir
	cfg.Notifiers = []config.Notifier{notifierBlock("recorder", "default/recorder", "owner", map[string]any{"file": file}, "default")}
	hub := servertest.Run(t, server.RoleHub, cfg)
	hub.Put("default", "before", "v")
	waitPlugin(t, hub, "default/recorder", pluginhost.StateDegraded)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := link(exe, filepath.Join(dir, "notifier-recorder")); err != nil {
		t.Fatal(err)
	}
	r := hub.Do("POST", "/v1/plugins/default%2Frecorder/reload", nil)
	if r.Status != 200 || !strings.Contains(string(r.Body), `"state":"ready"`) {
		t.Errorf("reload: %d %s", r.Status, r.Body)
	}
	servertest.WaitFor(t, "what came before is told, too", func() bool { return len(recorded(t, file)) > 0 })
	if got := recorded(t, file); !strings.HasPrefix(got[0], "put before ") {
		t.Errorf("told %q", got)
	}
}
