package metrics

import (
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// emitAll gives every metric that is collected a value.
func emitAll(emit Emit) {
	for _, m := range list {
		if own[m.name] {
			continue
		}
		values := make([]string, len(m.labels))
		for i := range values {
			values[i] = "x"
		}
		emit(m.name, 7, values...)
	}
}

func TestEveryMetricIsExportedWithPrefixAndHelp(t *testing.T) {
	m := New(emitAll)
	m.Event("frozen")
	m.Request("kv", "GET", 200, time.Millisecond)
	rec := httptest.NewRecorder()
	m.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	text, err := io.ReadAll(rec.Body)
	if err != nil || rec.Code != 200 {
		t.Fatalf("scrape: %d, %v: %s", rec.Code, err, text)
	}
	for _, m := range list {
		if !strings.HasPrefix(m.name, "unisondb_") || !strings.HasSuffix(m.help, ".") {
			t.Errorf("%s: name or help text %q has not the list's form", m.name, m.help)
		}
		if !strings.Contains(string(text), "# HELP "+m.name+" ") {
			t.Errorf("%s is in the list and not exported", m.name)
		}
	}
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "unisondb_") {
			t.Errorf("exported without the prefix: %s", line)
		}
	}
}

func TestAnUnlistedMetricIsNotExported(t *testing.T) {
	m := New(func(emit Emit) {
		defer func() {
			if recover() == nil {
				t.Error("a metric that isn't in the list was taken")
			}
		}()
		emit("unisondb_made_up", 1)
	})
	m.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/metrics", nil))
}

func TestTwoNodesShareNothing(t *testing.T) {
	a, b := New(func(Emit) {}), New(func(Emit) {})
	a.Event("frozen")
	rec := httptest.NewRecorder()
	b.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	if strings.Contains(rec.Body.String(), `kind="frozen"`) {
		t.Error("an event of one node is counted by another")
	}
}

// TestDocs: the reference has each metric with the type that is exported.
func TestDocs(t *testing.T) {
	m := New(emitAll)
	m.Event("frozen")
	m.Request("kv", "GET", 200, time.Millisecond)
	rec := httptest.NewRecorder()
	m.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	docs := Docs()
	if len(docs) != len(list) {
		t.Errorf("%d of %d metrics", len(docs), len(list))
	}
	for _, d := range docs {
		if !strings.Contains(rec.Body.String(), "# TYPE "+d.Name+" "+d.Type+"\n") {
			t.Errorf("%s isn't exported as a %s", d.Name, d.Type)
		}
	}
}
