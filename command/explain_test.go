package command

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestErrorsSayWhatToDo(t *testing.T) {
	retry := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3")
		answer(http.StatusTooManyRequests, `{"error":"the quota is used up","code":"QUOTA_EXCEEDED"}`)(w, nil)
	}
	readOnly := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Unisondb-Owner", "hub-1")
		answer(http.StatusForbidden, `{"error":"read-only","code":"READ_ONLY"}`)(w, nil)
	}
	cut := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	tests := []struct {
		name   string
		answer http.HandlerFunc
		args   string
		want   []string
	}{
		{"absent", noKey, "kv get k", []string{`there is no key "k" in namespace "default"`}},
		{"namespace", answer(404, `{"error":"no namespace","code":"NAMESPACE_NOT_FOUND"}`), "kv get k",
			[]string{"no namespace (NAMESPACE_NOT_FOUND)", "-namespace or $UNISONDB_NAMESPACE", "unisondb status"}},
		{"token", answer(401, `{"error":"no token","code":"UNAUTHORIZED"}`), "kv put k v", []string{"-token or $UNISONDB_TOKEN"}},
		{"quota", retry, "kv put k v", []string{"the quota is used up", "try again in 3s"}},
		{"read-only", readOnly, "kv put k v", []string{"its owner is hub-1"}},
		{"other server", func(w http.ResponseWriter, _ *http.Request) { http.NotFound(w, nil) }, "kv get k",
			[]string{"is this the HTTP address of a UnisonDB node?"}},
		{"write cut off", cut, "kv put k v", []string{"whether it was written is unknown: read it back"}},
		{"read cut off", cut, "kv get k", []string{"the connection was closed before the answer was complete"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHarness(t, tt.answer)
			got := h.run(strings.Fields(tt.args)...)
			got.want(t, exitFailed, "", tt.want...)
			if tt.name == "read cut off" && strings.Contains(got.stderr, "written") {
				t.Errorf("a read speaks of writing: %s", got.stderr)
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + l.Addr().String()
	if err := l.Close(); err != nil { // nobody listens there
		t.Fatal(err)
	}
	h := newHarness(t, success)
	for _, args := range []string{"kv get k", "kv put k v", "status"} {
		got := h.run(append(strings.Fields(args), "-address="+address)...)
		got.want(t, exitFailed, "", "cannot reach "+address, "connection refused", "is the node running?", "-address or $UNISONDB_ADDR")
		if strings.Contains(got.stderr, "written") {
			t.Errorf("nothing was sent: %s", got.stderr)
		}
	}
}

func TestUnknownCertificate(t *testing.T) {
	server := httptest.NewUnstartedServer(success)
	server.Config.ErrorLog = discardLog
	server.StartTLS()
	defer server.Close()
	h := newHarness(t, success)
	h.run("kv", "put", "k", "v", "-address="+server.URL).want(t, exitFailed, "", "is not trusted", "-ca-file")
}

func TestMissingTLSFile(t *testing.T) {
	h := newHarness(t, success)
	h.run("status", "-address=https://127.0.0.1:1", "-ca-file=/does/not/exist").
		want(t, exitFailed, "", "/does/not/exist: no such file or directory")
}

func TestWrongProtocol(t *testing.T) {
	h := newHarness(t, success)
	https := strings.Replace(h.env[envAddress], "http:", "https:", 1)
	h.run("kv", "put", "k", "v", "-address="+https).want(t, exitFailed, "", "does not speak TLS: write the address with http://")

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			_, _ = conn.Read(make([]byte, 1)) // the request; an answer to nothing is another error
			_, err = conn.Write([]byte("\x00\x00\x0c\x04\x00\x00\x00\x00\x00 another protocol\r\n\r\n"))
			_ = conn.Close()
		}
		served <- err
	}()
	h.run("status", "-address="+l.Addr().String()).want(t, exitFailed, "", "does not speak HTTP", "HTTP listener")
	if err := errors.Join(<-served, l.Close()); err != nil {
		t.Error(err)
	}
}
