package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/server/httpapi"
	"github.com/unisondb/unisondb/server/pluginhost"
)

// fakePlugins is a host whose plugins do as they are told.
type fakePlugins struct {
	calls   chan pluginhost.Request // as they arrived; buffered
	call    func(ctx context.Context, r pluginhost.Request) (pluginhost.Answer, error)
	reload  func(ctx context.Context, name string) (pluginhost.Status, error)
	retried [][]string
	letters []pluginhost.DeadLetter
}

var orders = pluginhost.Status{
	Name: "shop/orders", Type: "webhook", Kind: pluginhost.KindNotifier, State: pluginhost.StateDegraded, Reason: "it is broken: mend it",
	Namespaces: []pluginhost.NamespaceStatus{{Name: "default", LagRecords: 3}},
}

const ordersJSON = `{"name":"shop/orders","type":"webhook","kind":"notifier","state":"degraded","reason":"it is broken: mend it","version":"","sha256":"",
	"pid":0,"restarts":0,"memory_bytes":0,"memory_limit":0,"cpu_seconds":0,"log_lines_dropped":0,
	"namespaces":[{"name":"default","cursor":"","lag_records":3,"delivered":0,"refusals":0,"dead_letters":0,"cursors_lost":0,"last_error":""}]}`

func (p *fakePlugins) known(name string) error {
	if name == "vector" {
		return fmt.Errorf("%q: %w", name, pluginhost.ErrNoDeadLetters)
	}
	if name != orders.Name {
		return fmt.Errorf("%q: %w: 'operator plugin list' shows those that there are", name, pluginhost.ErrPluginNotFound)
	}
	return nil
}

func (p *fakePlugins) Plugins() []pluginhost.Status { return []pluginhost.Status{orders} }

func (p *fakePlugins) Plugin(name string) (pluginhost.Status, error) { return orders, p.known(name) }

func (p *fakePlugins) Reload(ctx context.Context, name string) (pluginhost.Status, error) {
	if p.reload != nil {
		return p.reload(ctx, name)
	}
	return orders, p.known(name)
}

func (p *fakePlugins) DeadLetters(name string) ([]pluginhost.DeadLetter, error) {
	return p.letters, p.known(name)
}

func (p *fakePlugins) RetryDeadLetters(_ context.Context, name string, ids []string) (accepted, left int, err error) {
	p.retried = append(p.retried, ids)
	return 2, 1, p.known(name)
}

func (p *fakePlugins) Call(ctx context.Context, r pluginhost.Request) (pluginhost.Answer, error) {
	p.calls <- r
	return p.call(ctx, r)
}

func withPlugins(t *testing.T) (*fixture, *fakePlugins) {
	t.Helper()
	p := &fakePlugins{calls: make(chan pluginhost.Request, 10)}
	return newFixture(t, func(o *fixtureOptions) { o.plugins = p }), p
}

func TestPluginRoutes(t *testing.T) {
	f, p := withPlugins(t)
	name := "!/v1/plugins/" + url.PathEscape(orders.Name)
	f.do("GET", "!/v1/plugins", "").want(200, "["+ordersJSON+"]")
	f.do("GET", name, "").want(200, ordersJSON)
	f.do("POST", name+"/reload", "").want(200, ordersJSON)
	f.do("GET", name+"/dead-letters", "").want(200, `[]`)
	at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	p.letters = []pluginhost.DeadLetter{{ID: "7-0", Namespace: "default", Reason: "422", Refusals: 10, First: at, Last: at, Event: []byte(`{"key":"a"}`)}}
	f.do("GET", name+"/dead-letters", "").want(200,
		`[{"id":"7-0","namespace":"default","reason":"422","refusals":10,"first":"2030-01-02T03:04:05Z","last":"2030-01-02T03:04:05Z","event":{"key":"a"}}]`)
	for _, body := range []string{"", `{}`, `{"ids":["7-0","8-0"]}`} {
		f.do("POST", name+"/dead-letters/retry", body).want(200, `{"accepted":2,"left":1}`)
	}
	if want := [][]string{nil, nil, {"7-0", "8-0"}}; !slices.EqualFunc(p.retried, want, slices.Equal) {
		t.Errorf("retried %q, want %q", p.retried, want)
	}
	f.do("POST", name+"/dead-letters/retry", `{"id":"7"}`).refused(400, httpapi.CodeInvalidJSON)
	for _, tc := range []struct{ method, action string }{{"GET", ""}, {"POST", "/reload"}, {"GET", "/dead-letters"}, {"POST", "/dead-letters/retry"}} {
		f.do(tc.method, "!/v1/plugins/none"+tc.action, "").refused(404, httpapi.CodePluginNotFound)
	}
	f.do("GET", "!/v1/plugins/vector/dead-letters", "").refused(404, httpapi.CodeNoNotifier)
	f.do("PUT", name, "").refused(405, httpapi.CodeMethodNotAllowed)
}

// TestPluginRoutesFromElsewhere: those that change the node answer on loopback only.
func TestPluginRoutesFromElsewhere(t *testing.T) {
	f, p := withPlugins(t)
	for _, path := range []string{"/v1/reload", "/v1/plugins/shop%2Forders/reload", "/v1/plugins/shop%2Forders/dead-letters/retry"} {
		r := httptest.NewRequest("POST", path, http.NoBody)
		r.RemoteAddr = "192.0.2.7:1234"
		w := httptest.NewRecorder()
		f.api.ServeHTTP(w, r)
		if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), httpapi.CodeForbidden) {
			t.Errorf("%s from another machine: %d %s", path, w.Code, w.Body)
		}
	}
	if len(p.retried) > 0 {
		t.Error("dead letters were retried for another machine")
	}
}

func TestReloadRoute(t *testing.T) {
	f, _ := withPlugins(t)
	f.do("POST", "!/v1/reload", "").want(200, `{"success":true,"changed":[]}`)
	f.node.changed = []string{"log level: debug, was info"}
	f.do("POST", "!/v1/reload", "").want(200, `{"success":true,"changed":["log level: debug, was info"]}`)
	f.node.reloadErr = &httpapi.Error{Status: 409, Code: httpapi.CodeConfigFixed, Message: "nothing was changed", Reasons: []string{"a.hcl:1: x"}}
	f.do("POST", "!/v1/reload", "").want(409, `{"error":"nothing was changed","code":"CONFIG_FIXED","reasons":["a.hcl:1: x"]}`)
	f.do("GET", "!/v1/reload", "").refused(405, httpapi.CodeMethodNotAllowed)
}

// TestPluginReloadEndsWithTheNode: who waits for a plugin doesn't hold up a stop.
func TestPluginReloadEndsWithTheNode(t *testing.T) {
	f, p := withPlugins(t)
	p.reload = func(ctx context.Context, _ string) (pluginhost.Status, error) {
		go f.api.Drain()
		<-ctx.Done()
		return orders, ctx.Err()
	}
	f.do("POST", "!/v1/plugins/shop%2Forders/reload", "").refused(503, httpapi.CodeShuttingDown)
}

func TestModelCall(t *testing.T) {
	f, p := withPlugins(t)
	pos := f.do("PUT", "/kv/a", putJSON("v")).position()
	p.call = func(context.Context, pluginhost.Request) (pluginhost.Answer, error) {
		return pluginhost.Answer{Body: []byte(`{"hits":[]}`), Status: 200, Position: pos}, nil
	}
	got := f.do("POST", "/model/vec%2Ftor/se%20arch", `{"k":1}`, header{"Content-Type", "application/json"}, header{httpapi.HeaderAtLeast, pos.String()})
	got.want(200, `{"hits":[]}`)
	if got.position() != pos {
		t.Errorf("position %v, want that of the answer, %v", got.position(), pos)
	}
	r := <-p.calls
	if r.Namespace != "default" || r.Model != "vec/tor" || r.Method != "se arch" || string(r.Body) != `{"k":1}` || r.ContentType != "application/json" || r.AtLeast != pos {
		t.Errorf("the model was called with %+v", r)
	}

	p.call = func(context.Context, pluginhost.Request) (pluginhost.Answer, error) {
		return pluginhost.Answer{Body: []byte("\x00\xff"), ContentType: "application/x-vectors", Status: 201}, nil
	}
	got = f.do("POST", "/model/vector/get", "")
	if got.status != 201 || string(got.body) != "\x00\xff" || got.header.Get("Content-Type") != "application/x-vectors" || got.header.Get(httpapi.HeaderPosition) != "" {
		t.Errorf("answered %d %q %v", got.status, got.body, got.header)
	}
	p.call = func(context.Context, pluginhost.Request) (pluginhost.Answer, error) {
		return pluginhost.Answer{Body: []byte(`{"error":"the vector has 2 dimensions, want 3","code":"DIMENSION"}`), Status: 409}, nil
	}
	f.do("POST", "/model/vector/upsert", "{}").refused(409, "DIMENSION")
}

func TestModelErrors(t *testing.T) {
	f, p := withPlugins(t)
	for _, tc := range []struct {
		err    error
		status int
		code   string
	}{
		{pluginhost.ErrModelNotFound, 404, httpapi.CodeModelNotFound},
		{pluginhost.ErrMethodNotFound, 404, httpapi.CodeMethodNotFound},
		{pluginhost.ErrNotReady, 503, httpapi.CodePluginUnavailable},
		{pluginhost.ErrModelFailed, 502, httpapi.CodeModelFailed},
		{pluginhost.ErrModelTimeout, 504, httpapi.CodeModelTimeout},
		{dbkernel.ErrReadOnly, 403, httpapi.CodeReadOnly},
		{dbkernel.ErrConflict, 409, httpapi.CodeTxConflict},
		{dbkernel.ErrOutcomeUnknown, 503, httpapi.CodeOutcomeUnknown},
		{errors.New("it answered nonsense"), 500, httpapi.CodeInternal},
	} {
		p.call = func(context.Context, pluginhost.Request) (pluginhost.Answer, error) {
			return pluginhost.Answer{}, fmt.Errorf("data model \"vector\": %w", tc.err)
		}
		got := f.do("POST", "/model/vector/upsert", "{}").refused(tc.status, tc.code)
		<-p.calls
		if owner := got.header.Get(httpapi.HeaderOwner); (owner == "hub-a") != (tc.code == httpapi.CodeReadOnly) {
			t.Errorf("%s: owner %q", tc.code, owner)
		}
		if after := got.header.Get("Retry-After"); (after != "") != (tc.code == httpapi.CodePluginUnavailable) {
			t.Errorf("%s: Retry-After %q", tc.code, after)
		}
	}
	f.do("GET", "/model/vector/get", "").refused(405, httpapi.CodeMethodNotAllowed)
	f.do("POST", "/model/vector/get?txn=x", "").refused(400, httpapi.CodeBadRequest)
	f.do("POST", "/model/vector/get?as_of=1", "").refused(410, httpapi.CodeHistoryGone)
	f.do("POST", "/model/vector/get", "", header{"If-Match", "*"}).refused(400, httpapi.CodeBadRequest)
	f.do("POST", "/model/vector/get", "", header{httpapi.HeaderAtLeast, "x"}).refused(400, httpapi.CodeInvalidPosition)
	f.do("POST", "!/api/v1/none/model/vector/get", "").refused(404, httpapi.CodeNamespaceNotFound)
	f.do("POST", "/model/vector/get", strings.Repeat("x", 32<<20+1)).refused(413, httpapi.CodeTooLarge)
	if len(p.calls) > 0 {
		t.Error("a request that was refused has reached the model")
	}
}

func TestModelWithoutPlugins(t *testing.T) {
	f := newFixture(t)
	f.do("POST", "/model/vector/search", "{}").refused(404, httpapi.CodeModelNotFound)
	f.do("GET", "!/v1/plugins", "").want(200, `[]`)
}

// TestModelWriteWaitsForFollowers: ?acks= holds for a data model's writes as for all others.
func TestModelWriteWaitsForFollowers(t *testing.T) {
	f, p := withPlugins(t)
	pos := f.do("PUT", "/kv/a", putJSON("v")).position()
	p.call = func(context.Context, pluginhost.Request) (pluginhost.Answer, error) {
		return pluginhost.Answer{Body: []byte(`{}`), Position: pos, Wrote: true}, nil
	}
	waited := make(chan dbkernel.Position, 2)
	f.node.replicated = func(_ context.Context, p dbkernel.Position, acks int) (int, error) {
		waited <- p
		if acks > 1 {
			return 1, errors.New("too few follow")
		}
		return acks, nil
	}
	if got := f.do("POST", "/model/vector/upsert?acks=1", "{}").want(200, `{}`); got.position() != pos {
		t.Errorf("position %v, want %v", got.position(), pos)
	}
	f.do("POST", "/model/vector/upsert?acks=2", "{}").refused(504, httpapi.CodeNotReplicated)
	if len(waited) != 2 || <-waited != pos || <-waited != pos {
		t.Errorf("want two waits for followers, for %v", pos)
	}
}

// TestModelBodiesShareTheMemory: a large body waits for memory as all large bodies do.
func TestModelBodiesShareTheMemory(t *testing.T) {
	p := &fakePlugins{calls: make(chan pluginhost.Request, 10)}
	f := newFixture(t, func(o *fixtureOptions) { o.plugins, o.memory = p, 1 })
	p.call = func(context.Context, pluginhost.Request) (pluginhost.Answer, error) {
		return pluginhost.Answer{Body: []byte(`{}`)}, nil
	}
	f.api.SetMemoryPatience(10 * time.Millisecond)
	body := strings.Repeat("x", 3<<20)
	free := f.api.TakeMemory(t)
	f.do("POST", "/model/vector/upsert", body).refused(503, httpapi.CodeBusy)
	f.do("POST", "/model/vector/upsert", "{}").want(200, `{}`)
	free()
}
