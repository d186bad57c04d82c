package command

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	completionPatience = time.Minute
	if os.Getenv(envAsProgram) != "" {
		os.Exit(asProgram())
	}
	goleak.VerifyTestMain(m)
}

const (
	testLineage  = "00112233445566778899aabbccddeeff"
	testPosition = testLineage + ":1048577:7"
)

// request is what arrived at the fake node.
type request struct {
	method string
	uri    string // as sent, with nothing decoded
	header http.Header
	body   string
}

// harness runs commands against a fake node.
type harness struct {
	t     *testing.T
	env   map[string]string
	stdin string
	width int // of the terminal that the output streams are; 0: none

	mu       sync.Mutex
	requests []request
	answers  []http.HandlerFunc // the last one repeats
}

// result is how a command ended.
type result struct {
	status int
	stdout string
	stderr string
}

func newHarness(t *testing.T, answers ...http.HandlerFunc) *harness {
	t.Helper()
	h := &harness{t: t, env: map[string]string{}, answers: answers}
	server := httptest.NewServer(h)
	t.Cleanup(func() {
		server.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	h.env[envAddress] = server.URL
	return h
}

func (h *harness) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	h.mu.Lock()
	h.requests = append(h.requests, request{r.Method, r.RequestURI, r.Header, string(body)})
	answer := h.answers[0]
	if len(h.answers) > 1 {
		h.answers = h.answers[1:]
	}
	h.mu.Unlock()
	// Commands end with their process; here nobody else closes connections.
	w.Header().Set("Connection", "close")
	answer(w, r)
}

func (h *harness) process(stdout, stderr io.Writer) Process {
	return Process{
		Stdin: strings.NewReader(h.stdin), Stdout: stdout, Stderr: stderr,
		Env:   func(name string) (string, bool) { v, ok := h.env[name]; return v, ok },
		Build: Build{Version: "1.2.3", Commit: "abc", Date: "2030-01-02T03:04:05Z"},
	}
}

// run runs a command with whatever change makes of what it is given.
func (h *harness) run(args ...string) result { return h.runWith(func(*Meta) {}, args...) }

func (h *harness) runWith(change func(*Meta), args ...string) result {
	h.t.Helper()
	var stdout, stderr lockedBuffer
	m := newMeta(h.process(&stdout, &stderr))
	m.terminalWidth = func(any) int { return h.width }
	change(m)
	status := m.dispatch(args)
	return result{status, stdout.String(), stderr.String()}
}

// last is the newest request.
func (h *harness) last() request {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.requests) == 0 {
		h.t.Fatal("no request arrived")
	}
	return h.requests[len(h.requests)-1]
}

func (h *harness) requestCount() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.requests)
}

// lockedBuffer is written to by a command's goroutines and read by the test.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// want fails the test unless the command ended like this. Of stderr the parts
// must be there.
func (r result) want(t *testing.T, status int, stdout string, stderr ...string) {
	t.Helper()
	if r.status != status {
		t.Errorf("status %d, want %d; stderr: %s", r.status, status, r.stderr)
	}
	if r.stdout != stdout {
		t.Errorf("stdout:\n%s\nwant:\n%s", r.stdout, stdout)
	}
	for _, part := range stderr {
		if !strings.Contains(r.stderr, part) {
			t.Errorf("stderr has no %q:\n%s", part, r.stderr)
		}
	}
	if len(stderr) == 0 && r.stderr != "" {
		t.Errorf("stderr: %s", r.stderr)
	}
}

// wantJSON compares standard output by meaning.
func (r result) wantJSON(t *testing.T, status int, want string) {
	t.Helper()
	if r.status != status {
		t.Errorf("status %d, want %d; stderr: %s", r.status, status, r.stderr)
	}
	sameJSON(t, r.stdout, want)
}

func sameJSON(t *testing.T, got, want string) {
	t.Helper()
	var a, b any
	if err := json.Unmarshal([]byte(got), &a); err != nil {
		t.Fatalf("%v in:\n%s", err, got)
	}
	if err := json.Unmarshal([]byte(want), &b); err != nil {
		t.Fatalf("%v in:\n%s", err, want)
	}
	if !reflect.DeepEqual(a, b) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func (r request) want(t *testing.T, method, uri string) {
	t.Helper()
	if r.method != method || r.uri != uri {
		t.Errorf("request %s %s, want %s %s", r.method, r.uri, method, uri)
	}
}

// answer is JSON at the test's position.
func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if status == http.StatusOK {
			w.Header().Set("X-Unisondb-Position", testPosition)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// answerBytes is bytes at the test's position, with headers given in pairs.
func answerBytes(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Unisondb-Position", testPosition)
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

var (
	success  = answer(http.StatusOK, `{"success":true}`)
	noKey    = answer(http.StatusNotFound, `{"error":"no such key","code":"KEY_NOT_FOUND"}`)
	noObject = answer(http.StatusNotFound, `{"error":"no such object","code":"OBJECT_NOT_FOUND"}`)
)

// file makes a file and returns its path.
func file(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
