package main

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/unisondb/unisondb/sdk/client"
)

const lineage = "0123456789abcdef0123456789abcdef"

// fakeHub answers reads.
type fakeHub struct {
	orders  map[string]string
	away    bool
	atLeast string // of the last read
}

func (f *fakeHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	type item struct {
		Key   string `json:"key"`
		Value string `json:"value"`
		Found bool   `json:"found"`
	}
	if f.away {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	f.atLeast = r.Header.Get("X-Unisondb-At-Least")
	items := []item{}
	if r.Method == http.MethodGet {
		for key, value := range f.orders {
			items = append(items, item{key, base64.StdEncoding.EncodeToString([]byte(value)), true})
		}
	} else {
		var asked struct{ Keys []string }
		_ = json.NewDecoder(r.Body).Decode(&asked)
		for _, key := range asked.Keys {
			value, ok := f.orders[key]
			items = append(items, item{key, base64.StdEncoding.EncodeToString([]byte(value)), ok})
		}
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"items": items})
}

// fixture is a service over a fake hub, which can be started anew with what it has stored.
type fixture struct {
	t       *testing.T
	hub     *fakeHub
	client  *client.Client
	path    string
	service *service
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, hub: &fakeHub{orders: map[string]string{}}, path: filepath.Join(t.TempDir(), "journal")}
	server := httptest.NewServer(f.hub)
	t.Cleanup(server.Close)
	var err error
	if f.client, err = client.New(client.Config{Address: server.URL, Namespace: "orders"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.client.Close)
	f.start()
	return f
}

func (f *fixture) start() {
	f.t.Helper()
	s := &service{client: f.client, secret: "s", projection: newProjection(), stored: func() {}}
	var err error
	if s.journal, err = openJournal(f.path, s.projection.apply); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = s.journal.close() })
	f.service = s
}

// post sends a webhook, and answers its status; 0 where the connection broke.
func (f *fixture) post(body string) (status int) {
	f.t.Helper()
	now := strconv.FormatInt(time.Now().Unix(), 10)
	return f.send(body, "t="+now+",v1="+sign("s", now, []byte(body)))
}

func (f *fixture) send(body, signature string) (status int) {
	f.t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/hook", strings.NewReader(body))
	r.Header.Set("X-Unisondb-Signature", signature)
	w := httptest.NewRecorder()
	defer func() {
		if what := recover(); what != nil && what != errCrashed {
			panic(what)
		}
	}()
	f.service.hook(w, r)
	return w.Code
}

const errCrashed = "crashed"

func event(key, operation string, lsn int) string {
	return `{"key":"` + key + `","operation":"` + operation + `","lineage":"` + lineage + `","epoch":1,"index":0,"lsn":` + strconv.Itoa(lsn) + `}`
}

func body(events ...string) string { return `{"events":[` + strings.Join(events, ",") + `]}` }

func (f *fixture) expect(what string, status, want, changes int) {
	f.t.Helper()
	if p := f.service.projection; status != want || p.Changes != changes {
		f.t.Fatalf("%s: answered %d, want %d; %d changes are handled, want %d", what, status, want, p.Changes, changes)
	}
}

// TestService goes through what may happen to a webhook.
func TestService(t *testing.T) {
	f := newFixture(t)
	f.hub.orders["order/1"] = `{"customer":"ann","cents":5}`

	f.hub.away = true
	f.expect("the hub is away", f.post(body(event("order/1", "put", 7))), http.StatusServiceUnavailable, 0)
	f.hub.away = false
	f.expect("a change", f.post(body(event("order/1", "put", 7), event("order/2", "delete", 6))), http.StatusOK, 2)
	if want := lineage + ":1:7"; f.hub.atLeast != want {
		t.Errorf("the orders were read at %q, want at least %s", f.hub.atLeast, want)
	}
	f.expect("the same again", f.post(body(event("order/1", "put", 7))), http.StatusOK, 2)
	f.expect("one again, with a new one behind it", f.post(body(event("order/1", "put", 7), event("order/1", "put", 8))), http.StatusOK, 3)

	f.expect("one twice in a request", f.post(body(event("order/2", "put", 9), event("order/2", "put", 9))), http.StatusOK, 4)

	f.hub.orders["order/3"] = `soup`
	f.expect("no order", f.post(body(event("order/3", "put", 10))), http.StatusUnprocessableEntity, 4)
	f.expect("no JSON", f.post(`{"events":`), http.StatusBadRequest, 4)
	f.expect("a wrong signature", f.send(body(event("order/1", "put", 10)), "t=1,v1=00"), http.StatusUnauthorized, 4)
	old := strconv.FormatInt(time.Now().Add(-time.Hour).Unix(), 10)
	f.expect("an old request", f.send(`{}`, "t="+old+",v1="+sign("s", old, []byte(`{}`))), http.StatusUnauthorized, 4)

	f.start()
	f.expect("after a restart, the same again", f.post(body(event("order/1", "put", 8))), http.StatusOK, 4)
	if cents := f.service.projection.Cents["ann"]; cents != 5 {
		t.Errorf("ann has ordered for %d", cents)
	}
	delete(f.hub.orders, "order/3")
	f.hub.orders["order/4"] = `{"customer":"eve","cents":2}`
	f.expect("a reset", f.post(body(`{"operation":"reset"}`)), http.StatusOK, 4)
	f.start()
	if p := f.service.projection; p.Cents["ann"] != 5 || p.Cents["eve"] != 2 || p.Resets != 1 {
		t.Errorf("after a reset: %+v", p)
	}
}

// TestCrash ends the service between its file and its answer: the request comes again, and isn't
// handled again.
func TestCrash(t *testing.T) {
	f := newFixture(t)
	f.service.stored = func() { panic(errCrashed) }
	if status := f.post(body(event("order/1", "put", 7))); status != 0 {
		t.Fatalf("a crashed service answers %d", status)
	}
	f.start()
	f.expect("what was stored", f.post(body(event("order/1", "put", 7))), http.StatusOK, 1)
	if f.service.projection.Skipped != 1 {
		t.Error("it wasn't skipped")
	}
}

// TestBrokenJournal: a service that can't store anything accepts nothing.
func TestBrokenJournal(t *testing.T) {
	f := newFixture(t)
	if err := f.service.journal.close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		f.expect("no file", f.post(body(event("order/1", "put", 7))), http.StatusServiceUnavailable, 0)
	}
	if f.service.broken == nil {
		t.Error("it would try the same file again")
	}
}

func TestShow(t *testing.T) {
	f := newFixture(t)
	f.post(body(event("order/1", "put", 7)))
	server := httptest.NewServer(http.HandlerFunc(f.service.show))
	defer server.Close()
	resp, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	var p Projection
	if err != nil || json.Unmarshal(text, &p) != nil || p.Changes != 1 || p.Handled["order/1"] != 1 {
		t.Errorf("%s, %v", text, err)
	}
}
