package main

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/unisondb/unisondb/sdk/notifier"
	"github.com/unisondb/unisondb/sdk/plugin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// call is a request as a receiver sees it.
type call struct {
	header http.Header
	path   string
	body   []byte
	events []notifier.Message
}

// receiver is a real HTTPS server that answers as it is told and remembers what
// it accepted, in order.
type receiver struct {
	*httptest.Server
	caFile string
	answer func(w http.ResponseWriter, c call) // nil: 200

	mu       sync.Mutex
	calls    []call
	accepted []notifier.Message
	inFlight int
	most     int // requests at the same time
}

func newReceiver(t testing.TB, answer func(http.ResponseWriter, call)) *receiver {
	t.Helper()
	r := &receiver{answer: answer}
	r.Server = httptest.NewUnstartedServer(r)
	r.EnableHTTP2 = true
	r.Config.ErrorLog = discardLog()
	r.StartTLS()
	t.Cleanup(r.Close)
	r.caFile = writePEM(t, "ca.pem", &pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate().Raw})
	return r
}

func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }

func writePEM(t testing.TB, name string, blocks ...*pem.Block) string {
	t.Helper()
	var b bytes.Buffer
	for _, block := range blocks {
		if err := pem.Encode(&b, block); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// status is the answer's, so that what was accepted can be told.
type status struct {
	http.ResponseWriter
	code int
}

func (s *status) WriteHeader(code int) {
	s.code = code
	s.ResponseWriter.WriteHeader(code)
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	c := call{header: req.Header, path: req.URL.Path, body: body}
	var list struct{ Events []notifier.Message }
	if json.Unmarshal(body, &list) == nil {
		c.events = list.Events
	}
	r.mu.Lock()
	r.calls = append(r.calls, c)
	r.inFlight++
	r.most = max(r.most, r.inFlight)
	r.mu.Unlock()

	s := &status{ResponseWriter: w, code: http.StatusOK}
	if r.answer != nil {
		r.answer(s, c)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inFlight--
	if s.code < 300 {
		r.accepted = append(r.accepted, c.events...)
	}
}

// requests are those that came so far.
func (r *receiver) requests() []call {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]call(nil), r.calls...)
}

// notifierOf is the plugin with a configuration that trusts the receiver.
func notifierOf(t testing.TB, r *receiver, config map[string]any) *webhook {
	t.Helper()
	all := map[string]any{"url": r.URL + "/hook", "tls": map[string]any{"ca_file": r.caFile}, "timeout": "1m"}
	for name, value := range config {
		all[name] = value
	}
	return configured(t, all)
}

func configured(t testing.TB, config map[string]any) *webhook {
	t.Helper()
	c, err := plugin.NewConfig("orders", config)
	if err != nil {
		t.Fatal(err)
	}
	w := &webhook{version: "1.2.3"}
	if err := w.Configure(t.Context(), c); err != nil {
		t.Fatalf("configuring: %v", err)
	}
	t.Cleanup(func() {
		if err := w.Close(t.Context()); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return w
}

var noon = time.Date(2026, 11, 22, 12, 0, 0, 123456789, time.UTC)

// batchOf is a batch of puts of keys, with LSNs from 1.
func batchOf(keys ...string) notifier.Batch {
	b := notifier.Batch{Namespace: "default", Lineage: "0123456789abcdef"}
	for i, key := range keys {
		b.Events = append(b.Events, notifier.Event{
			Key: []byte(key), Operation: notifier.Put, EntryType: "kv",
			LSN: uint64(i + 1), Epoch: 1048577, Count: 1, Time: noon,
		})
	}
	return b
}

func notify(t *testing.T, w *webhook, b notifier.Batch) notifier.Result {
	t.Helper()
	result, err := w.Notify(t.Context(), b)
	if err != nil {
		t.Fatalf("notify: %v", err)
	}
	return result
}
