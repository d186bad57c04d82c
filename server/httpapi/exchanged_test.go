package httpapi_test

import (
	"errors"
	"testing"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/server/httpapi"
)

// exchange makes the namespace default anew and returns its old handle.
func (f *fixture) exchange() *dbkernel.Namespace {
	f.t.Helper()
	old := f.ns
	if err := f.node.CreateNamespace(f.t.Context(), "default", true); err != nil {
		f.t.Fatal(err)
	}
	var err error
	if f.ns, err = f.node.db.Namespace("default"); err != nil {
		f.t.Fatal(err)
	}
	if _, err := old.View(); !errors.Is(err, dbkernel.ErrSuperseded) {
		f.t.Fatalf("the old handle answers %v", err)
	}
	return old
}

// TestReadsFindWhatTookANamespacesPlace: whatever is read, a handle that was
// superseded between lookup and read is no reason to fail.
func TestReadsFindWhatTookANamespacesPlace(t *testing.T) {
	f := newFixture(t)
	f.do("PUT", "/kv/a", putJSON("old"))
	old := f.exchange()
	f.do("PUT", "/kv/a", putJSON("new"))
	f.do("PUT", "/row/a", `{"columns":{"c":""}}`)
	p := f.do("PUT", "/lob/a", "bytes").position()
	for _, headers := range [][]header{nil, {{httpapi.HeaderAtLeast, p.String()}}} {
		for _, path := range []string{
			"/kv/a", "/kv/a?raw=true", "/kv/none", "/kv", "/row/a", "/row", "/lob/a", "/lob", "/offset", "/checkpoint", "/stats", "!/v1/namespaces/default/digests",
		} {
			f.node.exchanged.Store(old)
			if got := f.do("GET", path, "", headers...).refusedWith(200).position(); got.Lineage != p.Lineage {
				t.Errorf("%s saw %v, not %v", path, got, p)
			}
		}
		f.node.exchanged.Store(old)
		f.do("POST", "/kv/batch", `{"operation":"get","keys":["a"]}`, headers...).want(200, `{"items":[{"key":"a","value":"`+b64("new")+`","version":"<any>","found":true}]}`)
		f.node.exchanged.Store(old)
		f.do("GET", "/lob/none", "", headers...).refused(404, httpapi.CodeObjectNotFound)
	}
	f.node.exchanged.Store(old)
	a := f.do("PUT", "/kv/a", putJSON("never")).refused(503, httpapi.CodeNotReady)
	if a.header.Get("Retry-After") == "" {
		t.Error("Retry-After is missing")
	}
	f.do("GET", "/kv/a", "").want(200, `{"value":"`+b64("new")+`","found":true,"version":"<any>"}`)
}

// TestAWaitIsToldOfAnExchange: who waits for a position learns from what took the
// namespace's place that it is lost.
func TestAWaitIsToldOfAnExchange(t *testing.T) {
	f := newFixture(t)
	next := f.do("PUT", "/kv/a", putJSON("old")).position()
	next.LSN++
	start := time.Now()
	read := make(chan answer, 1)
	go func() { read <- f.do("GET", "/kv/a?wait=10m", "", header{httpapi.HeaderAtLeast, next.String()}) }()
	f.waitInFlight(1)
	f.exchange()
	(<-read).refused(409, httpapi.CodePositionLost)
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
}
