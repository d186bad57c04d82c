package httpapi_test

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestDebugRoutes(t *testing.T) {
	f := newFixture(t)
	if a := f.do("GET", "!/v1/debug/goroutines", ""); a.status != 200 || !strings.Contains(string(a.body), "goroutine ") || !strings.Contains(string(a.body), "httpapi") {
		t.Errorf("%d %.200s", a.status, a.body)
	}
	if a := f.do("GET", "!/v1/debug/heap", ""); a.status != 200 || !strings.HasPrefix(string(a.body), "\x1f\x8b") {
		t.Errorf("%d %.200q", a.status, a.body)
	}
	var out struct {
		GoVersion  string `json:"go_version"`
		Goroutines int
	}
	a := f.do("GET", "!/v1/debug/runtime", "")
	if err := json.Unmarshal(a.body, &out); err != nil || a.status != 200 || !strings.HasPrefix(out.GoVersion, "go") || out.Goroutines == 0 {
		t.Errorf("%d %v %+v", a.status, err, out)
	}
	f.do("GET", "!/v1/debug/cmdline", "").refused(404, "ROUTE_NOT_FOUND")
}

// What shows the process from inside is for its own machine.
func TestDebugRoutesAnswerOnLoopbackOnly(t *testing.T) {
	f := newFixture(t)
	for _, path := range []string{"/v1/debug/goroutines", "/v1/debug/heap", "/v1/debug/runtime"} {
		for _, remote := range []string{"192.0.2.1:1234", "[2001:db8::1]:1234", "", "nonsense"} {
			req := mustRequest(t, "GET", path)
			req.RemoteAddr = remote
			rec := newRecorder()
			f.api.ServeHTTP(rec, req)
			if rec.status != 403 || strings.Contains(rec.String(), "goroutine") {
				t.Errorf("%s from %q: %d %.100s", path, remote, rec.status, rec.String())
			}
		}
	}
}
