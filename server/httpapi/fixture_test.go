package httpapi_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/server/httpapi"
	"github.com/unisondb/unisondb/server/internal/forward"
	"github.com/unisondb/unisondb/server/pluginhost"
)

// Behind an answer that cuts a body short, net/http keeps the connection for half a second.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

// fakeNode is a node with a real kernel and nothing else.
type fakeNode struct {
	db       *dbkernel.DB
	owner    string
	refused  map[string]error
	notReady []string
	// changed and reloadErr answer Reload.
	changed   []string
	reloadErr error
	accepted  map[string]dbkernel.Lineage
	// absent: it has no namespace at all; elsewhere: another hub owns all of them.
	absent, elsewhere, relayers atomic.Bool
	// replacing is held while a namespace is replaced.
	replacing sync.RWMutex
	// exchanged is looked up in the place of a namespace, once.
	exchanged atomic.Pointer[dbkernel.Namespace]
	// replicated answers WaitReplicated; nil: nobody follows.
	replicated func(ctx context.Context, p dbkernel.Position, acks int) (int, error)
}

func (n *fakeNode) Namespace(name string) (*dbkernel.Namespace, error) {
	if err := n.refused[name]; err != nil {
		return nil, err
	}
	if name == "panics" {
		panic("a mistake of our own")
	}
	if n.absent.Load() {
		return nil, dbkernel.ErrNamespaceNotFound
	}
	if ns := n.exchanged.Swap(nil); ns != nil {
		return ns, nil
	}
	n.replacing.RLock()
	defer n.replacing.RUnlock()
	return n.db.Namespace(name)
}

func (n *fakeNode) CreateNamespace(ctx context.Context, name string, replace bool) error {
	n.replacing.Lock()
	defer n.replacing.Unlock()
	if replace {
		if err := n.db.SetAside(ctx, name, "a test"); err != nil {
			return err
		}
	}
	_, err := n.db.Create(name, dbkernel.Lineage{})
	return err
}

func (n *fakeNode) AcceptLineage(name string, lineage dbkernel.Lineage) error {
	if _, err := n.db.Namespace(name); err != nil {
		return err
	}
	n.accepted[name] = lineage
	return nil
}

func (n *fakeNode) WaitReplicated(ctx context.Context, _ string, p dbkernel.Position, acks int) (int, error) {
	if n.replicated == nil {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	return n.replicated(ctx, p, acks)
}

func (n *fakeNode) Owner(string) string { return n.owner }

func (n *fakeNode) HasNamespace(name string) bool {
	return !n.absent.Load() && (n.refused[name] != nil || slices.Contains(n.Names(), name))
}

func (n *fakeNode) OwnerElsewhere(string) bool { return n.elsewhere.Load() }

func (n *fakeNode) RelayerOwns(string) bool { return n.relayers.Load() }

func (n *fakeNode) Names() []string {
	names, err := n.db.Namespaces()
	if err != nil {
		panic(err)
	}
	return names
}

func (n *fakeNode) Status() httpapi.Status {
	s := httpapi.Status{NodeID: "n1", Role: "hub", Version: "test", Namespaces: []httpapi.NamespaceStatus{}, Plugins: []pluginhost.Status{}}
	for _, name := range n.Names() {
		s.Namespaces = append(s.Namespaces, httpapi.NamespaceStatus{Name: name, Role: "owner", Owner: "n1", State: "serving"})
	}
	return s
}

func (n *fakeNode) NamespaceStatus(name string) httpapi.NamespaceStatus {
	return httpapi.NamespaceStatus{Name: name, Role: "owner", Owner: "n1", State: "serving"}
}

func (n *fakeNode) Reload(context.Context) ([]string, error) { return n.changed, n.reloadErr }

func (n *fakeNode) NotReady(httpapi.ReadyQuery) []string { return n.notReady }

// fixture is an API on a real kernel behind a real port.
type fixture struct {
	t      *testing.T
	node   *fakeNode
	api    *httpapi.API
	url    string
	dir    string
	ns     *dbkernel.Namespace // "default"
	client *http.Client
	clock  atomic.Int64 // what is added to the time
}

type fixtureOptions struct {
	replica  bool
	plugins  httpapi.Plugins
	group    *fakeGroup // of which the node is hub-a; nil: none
	quota    dbkernel.Quota
	memory   int64
	patience time.Duration
	// forwarder passes requests on to other hubs; nil: there are none.
	forwarder *forward.Forwarder
}

func newFixture(t *testing.T, opts ...func(*fixtureOptions)) *fixture {
	t.Helper()
	o := fixtureOptions{}
	for _, opt := range opts {
		opt(&o)
	}
	f := &fixture{t: t, dir: t.TempDir()}
	log := hclog.New(&hclog.LoggerOptions{Output: testWriter{t}, Level: hclog.Warn})
	db, err := dbkernel.Open(dbkernel.Options{
		Dir: f.dir, Logger: log,
		Clock:    func() time.Time { return time.Now().Add(time.Duration(f.clock.Load())) },
		Defaults: dbkernel.NamespaceOptions{Replica: o.replica, Quota: o.quota},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("closing the database: %v", err)
		}
	})
	if f.ns, err = db.Create("default", dbkernel.Lineage{}); err != nil {
		t.Fatal(err)
	}
	if _, err = db.Create("other", dbkernel.Lineage{}); err != nil {
		t.Fatal(err)
	}
	f.node = &fakeNode{db: db, owner: "hub-a", refused: map[string]error{}, accepted: map[string]dbkernel.Lineage{}}
	options := httpapi.Options{
		Node: f.node, Plugins: o.plugins, Forwarder: o.forwarder, Logger: log, BackupDir: filepath.Join(f.dir, "backups"), BodyMemory: o.memory,
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "unisondb_up 1\n") }),
	}
	if o.group != nil {
		options.Group, options.Viewer, options.NodeID = o.group, o.group, "hub-a"
		options.Clock = func() time.Time { return seenAt }
	}
	f.api = httpapi.New(options)
	if o.patience > 0 {
		f.api.SetPatience(o.patience)
	}
	f.listen(log)
	if throughAHub.Load() {
		return f.frontWithout(ownerHub(t, f.api), o)
	}
	return f
}

func (f *fixture) listen(log hclog.Logger) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.t.Fatal(err)
	}
	srv := httpapi.NewServer(f.api, log)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	transport := &http.Transport{DisableCompression: true}
	f.client = &http.Client{Transport: transport, Timeout: 5 * time.Minute}
	f.url = "http://" + ln.Addr().String()
	f.t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := srv.Close(); err != nil {
			f.t.Error(err)
		}
		f.api.Wait()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			f.t.Error(err)
		}
	})
}

// waitInFlight waits until n requests are under way.
func (f *fixture) waitInFlight(n int64) {
	f.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for f.api.InFlight() < n {
		select {
		case <-tick.C:
		case <-f.t.Context().Done():
			f.t.Fatal("the requests didn't arrive")
		}
	}
}

// testWriter puts the log into the test's.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(string(bytes.TrimSpace(p)))
	return len(p), nil
}

// answer is what came back.
type answer struct {
	t      *testing.T
	what   string
	status int
	header http.Header
	body   []byte
}

// header is one of a request.
type header struct{ name, value string }

var octets = header{"Content-Type", "application/octet-stream"}

// do sends a request to a path below the namespace default, or to an absolute one ("!/…").
func (f *fixture) do(method, path, body string, headers ...header) answer {
	f.t.Helper()
	return f.send(method, path, bytes.NewReader([]byte(body)), headers...)
}

func (f *fixture) send(method, path string, body io.Reader, headers ...header) answer {
	f.t.Helper()
	target := f.url + "/api/v1/default" + path
	if path != "" && path[0] == '!' {
		target = f.url + path[1:]
	}
	req, err := http.NewRequestWithContext(f.t.Context(), method, target, body)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, h := range headers {
		req.Header.Set(h.name, h.value)
	}
	res, err := f.client.Do(req)
	if err != nil {
		f.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close() //nolint:errcheck // it was read
	b, err := io.ReadAll(res.Body)
	if err != nil {
		f.t.Fatalf("%s %s: reading the answer: %v", method, path, err)
	}
	return answer{f.t, method + " " + path, res.StatusCode, res.Header, b}
}

// want compares with a status and a JSON answer, in which "<any>" stands for
// any value that isn't empty.
func (a answer) want(status int, wantJSON string) answer {
	a.t.Helper()
	if a.status != status {
		a.t.Errorf("%s: answered %d, want %d: %s", a.what, a.status, status, a.body)
		return a
	}
	if ct := a.header.Get("Content-Type"); ct != "application/json" {
		a.t.Errorf("%s: Content-Type is %q", a.what, ct)
	}
	var want any
	if err := json.Unmarshal([]byte(wantJSON), &want); err != nil {
		a.t.Fatalf("the test's own JSON is wrong: %v: %s", err, wantJSON)
	}
	if err := match(want, a.json()); err != nil {
		a.t.Errorf("%s: %v\n got: %s\nwant: %s", a.what, err, a.body, wantJSON)
	}
	return a
}

// refused compares with an error.
func (a answer) refused(status int, code string) answer {
	a.t.Helper()
	m, _ := a.json().(map[string]any)
	if a.status != status || m["code"] != code {
		a.t.Errorf("%s: answered %d %v, want %d %s: %s", a.what, a.status, m["code"], status, code, a.body)
	}
	text, _ := m["error"].(string)
	if len(text) < 10 {
		a.t.Errorf("%s: the error doesn't say what happened: %q", a.what, text)
	}
	if ct := a.header.Get("Content-Type"); ct != "application/json" {
		a.t.Errorf("%s: Content-Type of an error is %q", a.what, ct)
	}
	return a
}

func (a answer) json() any {
	a.t.Helper()
	var v any
	if err := json.Unmarshal(a.body, &v); err != nil {
		a.t.Errorf("%s: the answer is no JSON: %v: %q", a.what, err, a.body)
	}
	return v
}

// field is a text of the answer's object.
func (a answer) field(name string) string {
	a.t.Helper()
	m, _ := a.json().(map[string]any)
	s, _ := m[name].(string)
	return s
}

// number is a number of the answer's object.
func (a answer) number(name string) uint64 {
	a.t.Helper()
	m, _ := a.json().(map[string]any)
	n, ok := m[name].(float64)
	if !ok || n < 0 {
		a.t.Errorf("%s: %s is %v, which is no number", a.what, name, m[name])
	}
	return uint64(n)
}

func (a answer) position() dbkernel.Position {
	a.t.Helper()
	p, err := dbkernel.ParsePosition(a.header.Get(httpapi.HeaderPosition))
	if err != nil {
		a.t.Errorf("%s: %v", a.what, err)
	}
	return p
}

func match(want, got any) error {
	switch w := want.(type) {
	case string:
		if w == "<any>" {
			if got == nil || got == "" {
				return errors.New("a value is missing")
			}
			return nil
		}
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok || !slices.Equal(sortedKeys(w), sortedKeys(g)) {
			return fmt.Errorf("fields are %v, want %v", sortedKeys(g), sortedKeys(w))
		}
		for k := range w {
			if err := match(w[k], g[k]); err != nil {
				return fmt.Errorf("%s: %w", k, err)
			}
		}
		return nil
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			return fmt.Errorf("%d elements, want %d", len(g), len(w))
		}
		for i := range w {
			if err := match(w[i], g[i]); err != nil {
				return fmt.Errorf("[%d]: %w", i, err)
			}
		}
		return nil
	}
	if want != got {
		return fmt.Errorf("%v, want %v", got, want)
	}
	return nil
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// putJSON is the body of a PUT of a key.
func putJSON(value string) string { return `{"value":"` + b64(value) + `"}` }

// escape percent-encodes a key for a path.
func escape(key string) string { return url.PathEscape(key) }

const ok = `{"success":true}`
