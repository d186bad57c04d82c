package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// testMachine is the machine that all tests run on.
var testMachine = defaults{hostName: "test-host", pluginDir: "/opt/plugins", memoryLimit: 512 << 20}

// loadText loads one file of the given name and text.
func loadText(name, text string, o LoadOptions) (*Config, error) {
	return loadTexts([]source{{name: name, text: []byte(text)}}, o)
}

func loadTexts(sources []source, o LoadOptions) (*Config, error) {
	env := func(name string) (string, bool) {
		v, ok := map[string]string{"HOOK_SECRET": "s3cret", "PORT": "4100", "EMPTY": ""}[name]
		return v, ok
	}
	secrets := func(path string) ([]byte, error) {
		if path == "/secret" {
			return []byte("from a file\r\n"), nil
		}
		return nil, &os.PathError{Op: "open", Path: path, Err: os.ErrNotExist}
	}
	return load(sources, &report{}, o, evalContext(env, secrets), testMachine)
}

func mustLoad(t *testing.T, text string, o LoadOptions) *Config {
	t.Helper()
	c, err := loadText("test.hcl", text, o)
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	return c
}

var ignoreWhere = cmp.FilterPath(func(p cmp.Path) bool { return strings.EqualFold(p.Last().String(), ".where") }, cmp.Ignore())

func TestReferenceResolvesToGolden(t *testing.T) {
	text, err := os.ReadFile("testdata/reference.hcl")
	if err != nil {
		t.Fatal(err)
	}
	c := mustLoad(t, string(text), LoadOptions{})
	got, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	golden := "testdata/reference.golden.json"
	if *update {
		if err := os.WriteFile(golden, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("resolved configuration differs from %s (run with -update if that is meant):\n%s", golden, cmp.Diff(string(want), string(got)))
	}
}

func TestJSONFormMeansTheSame(t *testing.T) {
	text, err := os.ReadFile("testdata/reference.hcl")
	if err != nil {
		t.Fatal(err)
	}
	jsonText, err := os.ReadFile("testdata/reference.json")
	if err != nil {
		t.Fatal(err)
	}
	want := mustLoad(t, string(text), LoadOptions{})
	got, err := loadText("reference.json", string(jsonText), LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, ignoreWhere); diff != "" {
		t.Errorf("the JSON form differs from the HCL form:\n%s", diff)
	}
}

func TestDefaults(t *testing.T) {
	storage := Storage{
		Engine: "lmdb", SegmentSize: 16 << 20, MemtableSize: 64 << 20,
		Sync: "always", SyncInterval: 10 * time.Millisecond, MapSize: 1 << 30,
		Retention: Retention{MaxAge: 24 * time.Hour, MaxBytes: 4 << 30, MinSegments: 2, PinMaxAge: 24 * time.Hour, PinMaxBytes: 4 << 30},
	}
	hub := &Config{
		NodeID: "test-host", DataDir: "/d", PluginDir: "/opt/plugins", MemoryLimit: 512 << 20,
		Log:         Log{Level: "info", Format: "text"},
		HTTP:        &Listener{Address: "127.0.0.1:4000", Advertise: "127.0.0.1:4000"},
		GRPC:        &Listener{Address: "127.0.0.1:4001", Advertise: "127.0.0.1:4001"},
		Storage:     storage,
		Replication: Replication{Compression: "zstd"},
		Telemetry:   Telemetry{Prometheus: true},
	}
	relayer := *hub
	relayer.GRPC = nil
	relayer.Relayer = &Relayer{Upstreams: []Upstream{{Name: "hub", Addresses: []string{"h:4001"}, Namespaces: []string{"default"}}}}
	dev := *hub
	dev.DataDir = ""
	dev.Namespaces = []Namespace{{Name: "default", Acks: "local", Storage: storage}}

	tests := []struct {
		name, text string
		options    LoadOptions
		want       *Config
	}{
		{"hub", `data_dir = "/d"`, LoadOptions{Role: RoleHub}, hub},
		{"relayer", `data_dir = "/d"
relayer {
  upstream "hub" {
    addresses  = ["h:4001"]
    namespaces = ["default"]
  }
}`, LoadOptions{Role: RoleRelayer}, &relayer},
		{"dev", ``, LoadOptions{Role: RoleHub, Dev: true}, &dev},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := mustLoad(t, tt.text, tt.options)
			if diff := cmp.Diff(tt.want, got, ignoreWhere); diff != "" {
				t.Error(diff)
			}
			if errs := got.NotBuilt(); len(errs) > 0 {
				t.Errorf("NotBuilt says %v of a default configuration", errs)
			}
		})
	}
}

func TestLaterFilesWin(t *testing.T) {
	sources := []source{
		{name: "a.hcl", text: []byte(`
data_dir = "/a"
node_id  = "a"
log { level = "debug" }
listener "grpc" {
  address  = "127.0.0.1:5001"
  insecure = true
}
storage {
  segment_size = "1MiB"
  retention {
    max_age   = "1h"
    max_bytes = "1GiB"
  }
}
namespace "one" {
  quota { max_bytes = "1MiB" }
}
namespace "two" {}
relayer {
  labels = { a = "1" }
  own "mine" {}
  upstream "hub" {
    addresses  = ["a:1", "b:1"]
    namespaces = ["x"]
  }
}
model "m" {
  namespaces = ["x"]
  config {
    deep { one = 1 }
    two = 2
  }
}
`)},
		{name: "b.json", text: []byte(`{
  "data_dir": "/b",
  "log": {"format": "json"},
  "listener": {"grpc": {"address": "10.0.0.1:5001"}},
  "storage": {"retention": {"max_age": "2h"}},
  "namespace": {
    "three": {},
    "one": {"quota": {"write_bytes_per_second": "2MiB"}, "storage": {"engine": "bolt"}}
  },
  "relayer": {"own": {"mine": {}, "also": {}}, "upstream": {"hub": {"addresses": ["c:1"]}}},
  "model": {"m": {"config": {"deep": {"three": 3}}}}
}`)},
	}
	c, err := loadTexts(sources, LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if c.DataDir != "/b" || c.NodeID != "a" {
		t.Errorf("data_dir and node_id are %q and %q, want /b of the later file and a of the earlier one", c.DataDir, c.NodeID)
	}
	if want := (Log{Level: "debug", Format: "json"}); c.Log != want {
		t.Errorf("log is %+v, want %+v", c.Log, want)
	}
	if want := (&Listener{Address: "10.0.0.1:5001", Advertise: "10.0.0.1:5001", Insecure: true}); !cmp.Equal(c.GRPC, want) {
		t.Errorf("listener is %+v, want %+v", c.GRPC, want)
	}
	if r := c.Storage.Retention; c.Storage.SegmentSize != 1<<20 || r.MaxAge != 2*time.Hour || r.MaxBytes != 1<<30 {
		t.Errorf("storage is %+v, want keys of both files", c.Storage)
	}
	var names []string
	for _, n := range c.Namespaces {
		names = append(names, n.Name)
	}
	if want := []string{"one", "two", "three"}; !slices.Equal(names, want) {
		t.Fatalf("namespaces are %v, want %v", names, want)
	}
	one := c.Namespaces[0]
	if want := (Quota{MaxBytes: 1 << 20, WriteBytesPerSecond: 2 << 20}); one.Quota != want || one.Storage.Engine != "bolt" || one.Storage.SegmentSize != 1<<20 {
		t.Errorf("namespace is %+v, want quota %+v, engine bolt and the node's segment_size", one, want)
	}
	wantRelayer := &Relayer{
		Labels: map[string]string{"a": "1"}, Own: []string{"mine", "also"},
		Upstreams: []Upstream{{Name: "hub", Addresses: []string{"c:1"}, Namespaces: []string{"x"}}},
	}
	if diff := cmp.Diff(wantRelayer, c.Relayer); diff != "" {
		t.Error(diff)
	}
	wantModel := map[string]any{"two": int64(2), "deep": map[string]any{"one": int64(1), "three": int64(3)}}
	if diff := cmp.Diff(wantModel, c.Models[0].Config); diff != "" {
		t.Error(diff)
	}
}

func TestFunctions(t *testing.T) {
	c := mustLoad(t, `
data_dir = env("NOWHERE", "/from/default")
region   = "${env("EMPTY")}x${file("/secret")}"
listener "http" { address = "127.0.0.1:${env("PORT")}" }
storage {
  retention { min_segments = env("NUMBER", "7") }
}
telemetry { prometheus = env("FLAG", "false") }
`, LoadOptions{})
	if c.DataDir != "/from/default" || c.Region != "xfrom a file" || c.HTTP.Address != "127.0.0.1:4100" {
		t.Errorf("got %q, %q and %q", c.DataDir, c.Region, c.HTTP.Address)
	}
	if c.Storage.Retention.MinSegments != 7 || c.Telemetry.Prometheus {
		t.Errorf("got %d and %v, want the number and the flag that env() gives as strings", c.Storage.Retention.MinSegments, c.Telemetry.Prometheus)
	}
}

func TestNullMeansNotWritten(t *testing.T) {
	c := mustLoad(t, `
data_dir  = "/d"
region    = null
relayer {
  labels = null
  upstream "hub" {
    addresses  = [for h in ["a", "b"] : "${h}:1"]
    namespaces = null
  }
}`, LoadOptions{})
	u := c.Relayer.Upstreams[0]
	if c.Region != "" || u.Namespaces != nil || !slices.Equal(u.Addresses, []string{"a:1", "b:1"}) {
		t.Errorf("got region %q and upstream %+v", c.Region, u)
	}
}

func TestLoadReadsFilesAndDirectories(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("d/10.hcl", "data_dir = \"/ten\"\nnode_id = \"ten\"\n")
	write("d/20.json", `{"data_dir": "/twenty"}`)
	write("d/.#10.hcl", "nonsense")
	write("d/README", "nonsense")
	write("d/sub/x.hcl", "nonsense")
	secret := write("secret", "hush\n")
	last := write("last.conf", `region = "${env("R")}-${file("`+secret+`")}"`)
	env := func(string) (string, bool) { return "eu", true }

	c, err := Load([]string{filepath.Join(dir, "d"), last}, LoadOptions{Env: env})
	if err != nil {
		t.Fatal(err)
	}
	if c.DataDir != "/twenty" || c.NodeID != "ten" || c.Region != "eu-hush" {
		t.Errorf("got %q, %q and %q", c.DataDir, c.NodeID, c.Region)
	}
	if c.MemoryLimit <= 0 || c.PluginDir == "" {
		t.Errorf("memory_limit %d and plugin_dir %q have no defaults", c.MemoryLimit, c.PluginDir)
	}

	if err := os.Mkdir(filepath.Join(dir, "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	absent := filepath.Join(dir, "absent.hcl")
	_, err = Load([]string{absent, filepath.Join(dir, "empty"), write("bad.hcl", "nod_id = 1")}, LoadOptions{})
	want := absent + ": no such file or directory; check the path given with -config\n" +
		filepath.Join(dir, "empty") + ": the directory holds no .hcl or .json file; check the path given with -config\n" +
		filepath.Join(dir, "bad.hcl") + `:1:1: unknown key "nod_id"; did you mean "node_id"?`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	if _, err := Load([]string{write("large.hcl", strings.Repeat("#\n", maxFile))}, LoadOptions{}); err == nil || !strings.Contains(err.Error(), "at most 1MiB") {
		t.Errorf("a file that is too large: %v", err)
	}
	if _, err := Load(nil, LoadOptions{}); err == nil || !strings.Contains(err.Error(), "-config") {
		t.Errorf("no paths: %v", err)
	}
	if _, err := Load(nil, LoadOptions{Dev: true, Role: RoleHub}); err != nil {
		t.Errorf("no paths with -dev: %v", err)
	}
}

func TestErrorHoldsEveryDiagnostic(t *testing.T) {
	_, err := loadText("a.hcl", "data_dir = \"/d\"\nregon = \"eu\"\n", LoadOptions{})
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("%T is no *Error", err)
	}
	want := []Diagnostic{{File: "a.hcl", Line: 2, Column: 1, Message: `unknown key "regon"`, Suggestion: `did you mean "region"?`}}
	if diff := cmp.Diff(want, e.Diagnostics); diff != "" {
		t.Error(diff)
	}
}

func TestNotBuilt(t *testing.T) {
	text, err := os.ReadFile("testdata/reference.hcl")
	if err != nil {
		t.Fatal(err)
	}
	c := mustLoad(t, string(text)+`
namespace "later" {
  acks = 2
  storage { history = "1h" }
}
`, LoadOptions{})
	c.Telemetry.OTLPEndpoint = "127.0.0.1:4317"
	var got []string
	for _, e := range c.NotBuilt() {
		what, found := strings.CutSuffix(e.Error(), " isn't built yet in this version of UnisonDB; remove it to start the node")
		if !found {
			t.Errorf("%q doesn't say what to do", e)
		}
		got = append(got, what)
	}
	golden := "testdata/notbuilt.golden"
	text = []byte(strings.Join(got, "\n") + "\n")
	if *update {
		if err := os.WriteFile(golden, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(text, want) {
		t.Error(cmp.Diff(string(want), string(text)))
	}
}

// TestSecret: whoever shows a configuration is told what env() and file() gave.
func TestSecret(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("of the file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	files := filepath.Join(dir, "hub.hcl")
	text := fmt.Sprintf("data_dir = env(\"DIR\")\nregion = file(%q)\nnode_id = env(\"UNSET\", \"hub-1\")\n", secret)
	if err := os.WriteFile(files, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var told []string
	cfg, err := Load([]string{files}, LoadOptions{
		Env:    func(name string) (string, bool) { return "/of/the/environment", name == "DIR" },
		Secret: func(value string) { told = append(told, value) },
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(told)
	if told = slices.Compact(told); !slices.Equal(told, []string{"/of/the/environment", "of the file"}) {
		t.Errorf("told of %q", told)
	}
	if cfg.DataDir != "/of/the/environment" || cfg.Region != "of the file" {
		t.Errorf("%+v", cfg)
	}
}
