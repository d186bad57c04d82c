package sdktest_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/unisondb/unisondb/sdk/datamodel"
	"github.com/unisondb/unisondb/sdk/notifier"
	"github.com/unisondb/unisondb/sdk/plugin"
	"github.com/unisondb/unisondb/sdk/sdktest"
)

// role names what this test binary is when a suite starts it as a program, and
// the mistake that it makes.
const role, mistake = "UNISONDB_SDKTEST_ROLE", "UNISONDB_SDKTEST_MISTAKE"

func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case "notifier-memory":
		notifier.Serve(memoryProgram(&memory{}, ""))
	case "model-set":
		datamodel.Serve(setProgram(""))
	default:
		os.Exit(m.Run())
	}
}

// memory is a notifier with its receiver.
type memory struct {
	mistake string

	mu     sync.Mutex
	got    []notifier.Message
	broken bool
	spoilt bool
}

type memoryConfig struct {
	URL string `config:"url,required"`
}

func memoryProgram(n *memory, mistake string) notifier.Program {
	n.mistake = mistake
	return notifier.Program{Info: plugin.Info{Name: "memory", Version: "1"}, Config: memoryConfig{}, Notifier: n}
}

func (n *memory) Configure(_ context.Context, c plugin.Config) error {
	var config memoryConfig
	if err := c.Decode(&config); err != nil {
		return err
	}
	if config.URL == "bad" && n.mistake != "accepts what is bad" {
		return plugin.Problems{{Path: map[bool]string{true: "uri", false: "url"}[n.mistake == "blames another"], Message: "no"}}
	}
	return nil
}

func (n *memory) Close(context.Context) error { return nil }

func (n *memory) Notify(ctx context.Context, b notifier.Batch) (notifier.Result, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mistake == "one batch at a time" && b.Namespace == "ns-3" {
		return notifier.Result{}, nil // and it is lost
	}
	if ctx.Err() != nil {
		n.spoilt = true
		return notifier.Result{}, ctx.Err()
	}
	events := slices.Clone(b.Events)
	switch n.mistake {
	case "loses":
		events = events[:len(events)-len(events)/10]
	case "reorders":
		slices.SortStableFunc(events, func(a, b notifier.Event) int { return cmp.Compare(b.LSN, a.LSN) })
	case "numbers anew":
		for i := range events {
			events[i].LSN = uint64(len(n.got) + i)
		}
	case "drops resets":
		events = slices.DeleteFunc(events, func(e notifier.Event) bool { return e.Operation == notifier.Reset })
	}
	return n.deliver(notifier.Batch{Namespace: b.Namespace, Lineage: b.Lineage, Events: events}), nil
}

func (n *memory) deliver(b notifier.Batch) notifier.Result {
	var r notifier.Result
	for i := range b.Events {
		if n.broken && (n.mistake != "goes on behind a refusal" || i%2 == 0) && n.mistake != "accepts for a broken receiver" {
			r.Rejected = append(r.Rejected, notifier.Rejection{Event: i, Cause: notifier.Unavailable, Reason: "broken"})
			continue
		}
		if !n.broken {
			n.got = append(n.got, b.Message(i))
		}
	}
	return r
}

// runMemory runs the suite with a mistake, or none.
func runMemory(t *testing.T, mistake string) {
	var newest *memory
	sdktest.Notifier(t, func(*testing.T) notifier.Program {
		newest = &memory{}
		return memoryProgram(newest, mistake)
	}, sdktest.NotifierOptions{
		Config: func(*testing.T) map[string]any { return map[string]any{"url": "good"} },
		BadConfigs: []sdktest.BadConfig{
			{Name: "bad url", Config: map[string]any{"url": "bad"}, Path: "url"},
			{Name: "no url", Config: map[string]any{}, Path: "url"},
		},
		Received: func(*testing.T) []notifier.Message {
			newest.mu.Lock()
			defer newest.mu.Unlock()
			return slices.Clone(newest.got)
		},
		Break: func(*testing.T) func() {
			set := func(broken bool) {
				newest.mu.Lock()
				defer newest.mu.Unlock()
				newest.broken = broken
			}
			set(true)
			return func() { set(false) }
		},
	})
}

// set is a data model that keeps an index: members, in order.
type set struct {
	mistake string

	mu      sync.Mutex
	indexes map[string]*index
	calls   int
}

type index struct {
	at      datamodel.Position
	members map[string]string // with their versions
}

func setProgram(mistake string) datamodel.Program {
	return datamodel.Program{
		Info: plugin.Info{Name: "set", Version: "1"}, Model: &set{mistake: mistake, indexes: map[string]*index{}},
		Methods: []datamodel.Method{{Name: "add", Writes: true}, {Name: "remove", Writes: true}, {Name: "count", Writes: true}, {Name: "list"}},
	}
}

func (m *set) Configure(_ context.Context, c plugin.Config, _ datamodel.Views) error {
	return c.Decode(new(struct{}))
}

func (m *set) Close(context.Context) error { return nil }

func (m *set) Call(ctx context.Context, c datamodel.Call) (datamodel.Answer, error) {
	var member string
	if err := json.Unmarshal(c.Body, &member); err != nil {
		if m.mistake == "blames itself" {
			return datamodel.Answer{}, err
		}
		return datamodel.Answer{}, &datamodel.Error{Status: 400, Code: "BAD_REQUEST", Message: err.Error()}
	}
	switch c.Method {
	case "add":
		return datamodel.Answer{Operations: []datamodel.Operation{{Key: []byte("m:" + member), Value: []byte(member)}}}, nil
	case "remove":
		return datamodel.Answer{Operations: []datamodel.Operation{{Key: []byte("m:" + member), Delete: true}}}, nil
	case "count":
		return m.count(ctx, c)
	default:
		return m.list(ctx, c)
	}
}

// count reads, and writes what depends on it.
func (m *set) count(ctx context.Context, c datamodel.Call) (datamodel.Answer, error) {
	items, _, err := c.View.Get(ctx, []byte("count"))
	if err != nil {
		return datamodel.Answer{}, err
	}
	n := len(items[0].Value) + 1
	if m.mistake == "has effects" {
		m.mu.Lock()
		m.calls++
		n += m.calls
		m.mu.Unlock()
	}
	a := datamodel.Answer{Operations: []datamodel.Operation{{Key: []byte("count"), Value: []byte(strings.Repeat("x", n))}}}
	if m.mistake != "forgets its reads" {
		a.Reads = []datamodel.Read{{Key: items[0].Key, Version: items[0].Version}}
	}
	return a, nil
}

func (m *set) list(ctx context.Context, c datamodel.Call) (datamodel.Answer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.indexes[c.Namespace]
	if m.mistake == "mixes namespaces" {
		i = m.indexes[""]
	}
	if i == nil {
		i = &index{members: map[string]string{}}
		m.indexes[c.Namespace] = i
		if m.mistake == "mixes namespaces" {
			m.indexes[""] = i
		}
	}
	if i.at == (datamodel.Position{}) || m.mistake != "never looks again" {
		if err := m.sync(ctx, c, i); err != nil {
			return datamodel.Answer{}, err
		}
	}
	var lines []string
	for _, key := range slices.Sorted(maps.Keys(i.members)) {
		line := key
		if m.mistake == "shows versions" {
			line += i.members[key]
		}
		lines = append(lines, line)
	}
	body, err := json.Marshal(lines)
	a := datamodel.Answer{Body: body, Position: i.at}
	if m.mistake == "hides the position" {
		a.Position = datamodel.Position{}
	}
	return a, err
}

func (m *set) sync(ctx context.Context, c datamodel.Call, i *index) error {
	at, err := c.View.Sync(ctx, i.at, func(reset bool, items []datamodel.Item) error {
		if reset && m.mistake != "ignores a reset" && m.mistake != "mixes namespaces" {
			clear(i.members)
		}
		for _, item := range items {
			if item.Version == "" {
				delete(i.members, string(item.Key))
			} else {
				i.members[string(item.Key)] = item.Version
			}
		}
		return nil
	})
	i.at = at
	return err
}

// setOptions write more members than fit a page.
func setOptions() sdktest.ModelOptions {
	o := sdktest.ModelOptions{
		BadConfigs:  []sdktest.BadConfig{{Name: "an argument", Config: map[string]any{"a": 1}, Path: "a"}},
		Queries:     []sdktest.Request{{Method: "list", Body: ""}},
		BadRequests: []sdktest.Request{{Method: "add", Body: 5}},
	}
	count := sdktest.Request{Method: "count", Body: ""}
	for _, member := range strings.Fields("a b c d e f g h") {
		o.Writes = append(o.Writes, sdktest.Request{Method: "add", Body: member})
	}
	o.Writes = append(o.Writes, sdktest.Request{Method: "remove", Body: "b"}, count, count)
	return o
}

func runSet(t *testing.T, mistake string) {
	sdktest.DataModel(t, func(*testing.T) datamodel.Program { return setProgram(mistake) }, setOptions())
}

func TestNotifierSuite(t *testing.T)  { runMemory(t, "") }
func TestDataModelSuite(t *testing.T) { runSet(t, "") }

// linked gives this test binary the name of a program, which it then is.
func linked(t *testing.T, name string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.Symlink(self, path); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestNotifierProgram(t *testing.T) {
	sdktest.NotifierProgram(t, linked(t, "notifier-memory"), sdktest.NotifierOptions{
		Config: func(*testing.T) map[string]any { return map[string]any{"url": "good"} },
	})
}

func TestDataModelProgram(t *testing.T) {
	sdktest.DataModelProgram(t, linked(t, "model-set"), setOptions())
}

// TestMistakes: each mistake fails the part of the suite that is there for it.
func TestMistakes(t *testing.T) {
	if m := os.Getenv(mistake); m != "" {
		switch os.Getenv(role) {
		case "notifier":
			runMemory(t, m)
		case "model":
			runSet(t, m)
		}
		return
	}
	for _, c := range []struct{ role, mistake, part string }{
		{"notifier", "accepts what is bad", "configuration$/^bad_url"},
		{"notifier", "blames another", "configuration$/^bad_url"},
		{"notifier", "one batch at a time", "namespaces_at_once"},
		{"notifier", "loses", "order"},
		{"notifier", "reorders", "order"},
		{"notifier", "numbers anew", "the_same_again"},
		{"notifier", "drops resets", "every_form_of_event"},
		{"notifier", "goes on behind a refusal", "a_receiver_that_refuses"},
		{"notifier", "accepts for a broken receiver", "a_receiver_that_refuses"},
		{"model", "forgets its reads", "conflicts"},
		{"model", "has effects", "calls_without_effects"},
		{"model", "shows versions", "the_same_cells,_the_same_answers"},
		{"model", "never looks again", "the_same_cells,_the_same_answers"},
		{"model", "ignores a reset", "a_trimmed_log"},
		{"model", "mixes namespaces", "namespaces_apart"},
		{"model", "hides the position", "the_same_cells,_the_same_answers"},
		{"model", "blames itself", "bad_requests"},
	} {
		t.Run(c.role+" "+c.mistake, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], "-test.run=^TestMistakes$/^"+c.part+"$", "-test.v")
			cmd.Env = append(os.Environ(), role+"="+c.role, mistake+"="+c.mistake)
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if want := "--- FAIL: TestMistakes/" + strings.ReplaceAll(c.part, "$/^", "/") + " "; !errors.As(err, &exit) || !strings.Contains(string(out), want) {
				t.Errorf("%v: the suite lacks the failure %q:\n%s", err, want, out)
			}
		})
	}
}
