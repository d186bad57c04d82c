package config

import (
	"encoding/json"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
)

const plugins = `data_dir = "/d"
namespace "inventory" {
  notifier "zeromq" {
    bind_port = env("PORT")
    max_delay = "2ms"
    config {
      linger_time = "1s"
    }
  }
}
notifier "webhook" "orders" {
  namespaces     = ["orders"]
  latest_per_key = true
  start_from     = "snapshot"
  restart_from   = "newest"
  max_refusals   = 3
  max_batch      = 50
  memory_limit   = "64MiB"
  sha256         = "ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef0123456789"
  version        = "1.4.2"
  filter {
    entry_types = ["kv", "vector"]
  }
  config {
    url = "https://example.com/hook"
    tls {
      ca_file = "ca.crt"
    }
  }
}
notifier "mine" "a" {
  namespaces = ["orders"]
  run_on     = "every"
  config {
    path = "/x"
    deep "label" {
      one = 1
    }
    table = { a = 1 }
  }
}
model "vector" {
  namespaces   = ["orders"]
  memory_limit = "1GiB"
  config {
    exact = true
  }
}
`

func TestPluginBlocks(t *testing.T) {
	c := mustLoad(t, plugins, LoadOptions{Role: RoleHub})
	defaults := Notifier{StartFrom: "newest", RestartFrom: "oldest", MaxRefusals: 10, MaxBatch: 1000, Program: Program{MemoryLimit: 512 << 20}}
	mine, zeromq := defaults, defaults
	mine.Type, mine.Name, mine.Namespaces, mine.RunOn = "mine", "a", []string{"orders"}, "every"
	mine.Config = map[string]any{"path": "/x", "deep": map[string]any{"label": map[string]any{"one": int64(1)}}, "table": map[string]any{"a": int64(1)}}
	zeromq.Type, zeromq.Name, zeromq.Namespaces, zeromq.RunOn, zeromq.MaxDelay = "zeromq", "inventory/zeromq", []string{"inventory"}, "every", 2*time.Millisecond
	zeromq.Config = map[string]any{"bind_port": int64(4100), "linger_time": "1s"}
	want := []Notifier{{
		Type: "webhook", Name: "orders", Namespaces: []string{"orders"}, RunOn: "owner", EntryTypes: []string{"kv", "vector"},
		LatestPerKey: true, StartFrom: "snapshot", RestartFrom: "newest", MaxRefusals: 3, MaxBatch: 50,
		Program: Program{SHA256: "abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789", Version: "1.4.2", MemoryLimit: 64 << 20},
		Config:  map[string]any{"url": "https://example.com/hook", "tls": map[string]any{"ca_file": "ca.crt"}},
	}, mine, zeromq}
	if diff := cmp.Diff(want, c.Notifiers, ignoreWhere); diff != "" {
		t.Error(diff)
	}
	wantModels := []Model{{Name: "vector", Namespaces: []string{"orders"}, Program: Program{MemoryLimit: 1 << 30}, Config: map[string]any{"exact": true}}}
	if diff := cmp.Diff(wantModels, c.Models, ignoreWhere); diff != "" {
		t.Error(diff)
	}
}

// TestPlacesOfArguments: what only a plugin can check is reported with file and line, too.
func TestPlacesOfArguments(t *testing.T) {
	c := mustLoad(t, plugins, LoadOptions{Role: RoleHub})
	webhook, mine, zeromq, vector := c.Notifiers[0].Where, c.Notifiers[1].Where, c.Notifiers[2].Where, c.Models[0].Where
	for _, tt := range []struct {
		places Places
		path   string
		line   string
	}{
		{webhook, "", "11"}, {webhook, "url", "25"}, {webhook, "tls", "26"}, {webhook, "tls.ca_file", "27"},
		{webhook, "tls.cert_file", "26"}, // isn't written: the block that it would be in
		{webhook, "secret", "11"},
		{mine, "path", "35"}, {mine, "deep.label", "36"}, {mine, "deep.label.one", "37"}, {mine, "table.a", "39"},
		{zeromq, "", "3"}, {zeromq, "bind_port", "4"}, {zeromq, "linger_time", "7"}, {zeromq, "bind_address", "3"},
		{vector, "", "42"}, {vector, "exact", "46"},
	} {
		if got := tt.places.At(tt.path); got != "test.hcl:"+tt.line {
			t.Errorf("%q stands at %q, want line %s", tt.path, got, tt.line)
		}
	}
	if got := Places(nil).At("a.b"); got != "" {
		t.Errorf("nothing is known, and %q is said", got)
	}
}

// TestPlacesOfLaterFiles: the file that wins is the one that is named.
func TestPlacesOfLaterFiles(t *testing.T) {
	c, err := loadTexts([]source{
		{name: "a.hcl", text: []byte("data_dir = \"/d\"\nmodel \"m\" {\n  namespaces = [\"x\"]\n  config {\n    one = 1\n    two = 2\n  }\n}\n")},
		{name: "b.json", text: []byte("{\"model\": {\"m\": {\"config\": {\n\"two\": 3,\n\"deep\": {\"x\": 1}}}}}")},
	}, LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"": "a.hcl:2", "one": "a.hcl:5", "two": "b.json:2", "deep.x": "b.json:3"} {
		if got := c.Models[0].Where.At(path); got != want {
			t.Errorf("%q stands at %s, want %s", path, got, want)
		}
	}
}

func TestRunOnDefaults(t *testing.T) {
	text := func(role string) string {
		s := `data_dir = "/d"
namespace "a" {
  notifier "zeromq" { bind_port = 1 }
  notifier "webhook" {
    config { url = "http://h/" }
  }
}
notifier "own" "o" {
  namespaces = ["a"]
  run_on     = "owner"
}
`
		if role == RoleRelayer {
			s += "relayer {\n  upstream \"u\" {\n    addresses  = [\"h:1\"]\n    namespaces = [\"a\"]\n  }\n}\n"
		}
		return s
	}
	for role, want := range map[string][]string{RoleHub: {"owner", "every", "owner"}, RoleRelayer: {"owner", "every", "every"}} {
		var got []string
		for _, n := range mustLoad(t, text(role), LoadOptions{Role: role}).Notifiers {
			got = append(got, n.RunOn)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: notifiers run on %v, want %v", role, got, want)
		}
	}
}

func TestPluginSlips(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"two of one name", `notifier "webhook" "x" {
  namespaces = ["a"]
  config { url = "http://h/" }
}
notifier "mine" "x" { namespaces = ["a"] }
model "x" { namespaces = ["a"] }`,
			"6:1: notifier \"mine\" \"x\" has the same name as notifier \"webhook\" \"x\"; give one of them another name\n" +
				`7:1: model "x" has the same name as notifier "webhook" "x"; give one of them another name`},
		{"sockets", `notifier "zeromq" "x" {
  namespaces = ["a", "b"]
  bind_port  = 5555
}
namespace "c" {
  notifier "zeromq" {
    bind_port    = 5555
    bind_address = "*"
  }
}
namespace "d" {
  notifier "zeromq" {
    bind_port    = 5556
    bind_address = "localhost"
  }
}`, "3:16: a ZeroMQ socket serves one namespace, and notifier \"zeromq\" \"x\" has 2; write a notifier \"zeromq\" block with a bind_port of its own inside each namespace\n" +
			`8:5: notifier "zeromq" "c/zeromq" has the bind_port of notifier "zeromq" "x"; give one of them another bind_port`},
		{"a model's name", `model "lob" { namespaces = ["a"] }`, `2:7: a model can't be called "lob"; notifications call keys, rows and large objects so; use another name`},
		{"checksum", `model "m" {
  namespaces = ["a"]
  sha256     = "abc"
}`, `4:16: "abc" is no SHA-256 checksum; use 64 hexadecimal digits, as sha256sum prints them`},
		{"words", `notifier "mine" "x" {
  namespaces   = ["a"]
  start_from   = "latest"
  max_refusals = 0
  memory_limit = "1"
  filter {
    entry_types = ["../kv"]
  }
}`, `4:18: "latest" is not one of "newest", "oldest" or "snapshot"; use "newest", "oldest" or "snapshot"` + "\n" +
			"5:18: 0 is not a whole number from 1 to 1000000; use 1 to 1000000\n" +
			"6:18: \"1\" is out of range; use \"1MiB\" to \"9223372036854775807\"\n" +
			"8:20: \"../kv\" is no name of a plugin; use 1 to 64 letters, digits, dots, dashes and underscores, a letter or digit first"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := loadText("x.hcl", "data_dir = \"/d\"\n"+tt.text+"\n", LoadOptions{})
			if err == nil {
				t.Fatal("it was taken")
			}
			if got := strings.ReplaceAll(err.Error(), "x.hcl:", ""); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

// TestKnownArgumentsAreThePlugins: what is checked here without a program is what its
// own schema has.
func TestKnownArgumentsAreThePlugins(t *testing.T) {
	tag := regexp.MustCompile("`config:\"([a-z0-9_]+)")
	for _, kind := range []string{notifierZeroMQ, notifierMQTT, notifierWebhook} {
		source, err := readFile("../../plugins/notifier/" + kind + "/config.go")
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, m := range tag.FindAllStringSubmatch(string(source), -1) {
			want = append(want, m[1])
		}
		w := newWrittenNotifier(kind, "x", hcl.Range{})
		got := []string{"tls", "cert_file", "key_file", "ca_file"}
		if kind == notifierZeroMQ {
			got = []string{"curve", "secret_key", "allowed_clients"}
		}
		for _, k := range w.known() {
			got = append(got, k.name)
		}
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: the plugin's arguments (-) aren't those of the configuration (+):\n%s", kind, diff)
		}
	}
}

// live is what can change while a node runs, and so is no change for Fixed.
func live(path string) bool {
	return path == "Log.Level" || strings.HasPrefix(path, "Notifiers") || strings.HasPrefix(path, "Models")
}

// TestFixedSeesEveryField changes each field of the reference by itself: a key that is
// added to the configuration and not to settings would be ignored by a reload.
func TestFixedSeesEveryField(t *testing.T) {
	reference := mustLoad(t, referenceText(t), LoadOptions{})
	reference.Raft.TLS = &TLS{CertFile: "x"}
	text, err := json.Marshal(reference)
	if err != nil {
		t.Fatal(err)
	}
	// As of a configuration that a program has made, without places: nothing follows a default.
	load := func() *Config {
		c := &Config{}
		if err := json.Unmarshal(text, c); err != nil {
			t.Fatal(err)
		}
		return c
	}
	old := load()
	if diff := old.Fixed(load()); len(diff) > 0 {
		t.Fatalf("the same configuration has changed: %v", diff)
	}
	seen := 0
	eachField(reflect.ValueOf(old).Elem(), "", func(path string, _ reflect.Value) {
		changed := load()
		eachField(reflect.ValueOf(changed).Elem(), "", func(p string, v reflect.Value) {
			if p == path {
				change(t, v)
			}
		})
		got := old.Fixed(changed)
		if live(path) != (len(got) == 0) {
			t.Errorf("%s: changes are %v", path, got)
		}
		seen++
	})
	if seen < 80 {
		t.Errorf("only %d fields were changed", seen)
	}
}

// eachField calls fn for each field that holds a plain value, a list or a table.
func eachField(v reflect.Value, path string, fn func(string, reflect.Value)) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			eachField(v.Elem(), path, fn)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				eachField(v.Field(i), strings.TrimPrefix(path+"."+f.Name, "."), fn)
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Struct {
			for i := range v.Len() {
				eachField(v.Index(i), path+string(rune('0'+i)), fn)
			}
			return
		}
		fn(path, v)
	default:
		fn(path, v)
	}
}

func change(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int, reflect.Int64:
		v.SetInt(v.Int() + 1)
	case reflect.Slice:
		v.Set(reflect.Append(v, reflect.ValueOf("x")))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
	default:
		t.Fatalf("a field of kind %v: teach the test to change it", v.Kind())
	}
}

func referenceText(t *testing.T) string {
	t.Helper()
	text, err := readFile("testdata/reference.hcl")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestFixedSaysWhereAndWhat(t *testing.T) {
	const old = `data_dir = "/d"
storage { segment_size = "1MiB" }
namespace "a" {
  quota { max_bytes = "1GiB" }
}
namespace "b" {}
namespace "c" {
  storage { segment_size = "4MiB" }
}
log { level = "info" }
`
	const later = `data_dir = "/d"
memory_limit = "2GiB"
storage {
  segment_size = "2MiB"
}
namespace "a" {
  quota { max_bytes = "2GiB" }
  notifier "zeromq" { bind_port = 5555 }
}
listener "redis" {}
log { level = "debug" }
namespace "c" {}
`
	was, is := mustLoad(t, old, LoadOptions{Role: RoleHub}), mustLoad(t, later, LoadOptions{Role: RoleHub})
	var got []string
	for _, c := range was.Fixed(is) {
		got = append(got, c.String())
	}
	want := []string{
		`test.hcl:2: memory_limit was "512MiB" and is "2GiB"`,
		`test.hcl:10: listener "redis" is new (a block)`,
		`test.hcl:4: segment_size in storage was "1MiB" and is "2MiB"`,
		`test.hcl:7: max_bytes in quota of namespace "a" was "1GiB" and is "2GiB"`,
		`segment_size in storage of namespace "c" was "4MiB" and is "2MiB"`,
		`namespace "b" was a block and is gone`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestFixedIgnoresTheMachine: what nobody has written may differ by itself, as a
// memory limit of a cgroup.
func TestFixedIgnoresTheMachine(t *testing.T) {
	was, is := mustLoad(t, `data_dir = "/d"`, LoadOptions{}), mustLoad(t, `data_dir = "/d"`, LoadOptions{})
	is.MemoryLimit, is.NodeID = 1<<30, "renamed"
	if got := was.Fixed(is); len(got) > 0 {
		t.Errorf("changes are %v", got)
	}
	is = mustLoad(t, "data_dir = \"/d\"\nmemory_limit = \"1GiB\"", LoadOptions{})
	if got := was.Fixed(is); len(got) != 1 {
		t.Errorf("changes are %v, want that of memory_limit", got)
	}
}
