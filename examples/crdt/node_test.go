package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/unisondb/unisondb/sdk/client"
)

// fakeNode keeps keys as a hub does, and fails as one may.
type fakeNode struct {
	mu     sync.Mutex
	values map[string]string // by namespace/key
	puts   []string
	fail   []func(w http.ResponseWriter) // what becomes of the next writes; nil: it works
}

func startFake(t *testing.T, f *fakeNode) *client.Client {
	t.Helper()
	f.values = map[string]string{}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	c, err := client.New(client.Config{Address: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func (f *fakeNode) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	namespace, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/api/v1/"), "/kv")
	w.Header().Set("X-Unisondb-Position", "0123456789abcdef0123456789abcdef:1:1")
	if r.Method == http.MethodGet {
		f.list(w, namespace)
		return
	}
	value, _ := io.ReadAll(r.Body)
	f.values[namespace+key] = string(value)
	f.puts = append(f.puts, namespace+key+"="+string(value))
	if len(f.fail) > 0 {
		fail := f.fail[0]
		f.fail = f.fail[1:]
		fail(w)
		return
	}
	_, _ = io.WriteString(w, `{"success":true}`)
}

func (f *fakeNode) list(w http.ResponseWriter, namespace string) {
	type item struct {
		Key   string `json:"key"`
		Value string `json:"value"`
	}
	items := []item{}
	for name, value := range f.values {
		if key, ok := strings.CutPrefix(name, namespace+"/"); ok {
			items = append(items, item{key, base64.StdEncoding.EncodeToString([]byte(value))})
		}
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"items": items})
}

// lostAnswer breaks the connection behind a write that was done.
func lostAnswer(http.ResponseWriter) { panic(http.ErrAbortHandler) }

func unavailable(w http.ResponseWriter) {
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = io.WriteString(w, `{"error":"wait","code":"NO_OWNER"}`)
}

func refused(w http.ResponseWriter) {
	w.WriteHeader(http.StatusForbidden)
	_, _ = io.WriteString(w, `{"error":"not here","code":"READ_ONLY"}`)
}

// TestWriterRepeats: a write whose fate is unknown is made again, and counts once.
func TestWriterRepeats(t *testing.T) {
	node := &fakeNode{fail: []func(http.ResponseWriter){lostAnswer, unavailable}}
	c := startFake(t, node)
	w := writer{replica: replica{c, []string{"east", "west"}}, name: "e", own: "east"}
	for range 2 { // the second goes on where the first was
		if err := w.write(t.Context(), 2, ""); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"east/visits/e=1", "east/visits/e=1", "east/visits/e=1", "east/visits/e=2", "east/visits/e=3", "east/visits/e=4"}
	if !slices.Equal(node.puts, want) {
		t.Errorf("wrote %v, want %v", node.puts, want)
	}
}

func TestWriterStops(t *testing.T) {
	node := &fakeNode{fail: []func(http.ResponseWriter){refused}}
	w := writer{replica: replica{startFake(t, node), []string{"east"}}, name: "e", own: "east"}
	if err := w.write(t.Context(), 2, ""); err == nil || len(node.puts) != 1 {
		t.Errorf("a refused write: %v, %v", node.puts, err)
	}
	if err := (writer{}).write(t.Context(), 1, ""); err == nil {
		t.Error("a writer without a name writes")
	}
}

// TestReplica merges what both namespaces hold, and what it has written itself.
func TestReplica(t *testing.T) {
	node := &fakeNode{}
	c := startFake(t, node)
	r := replica{c, []string{"east", "west"}}
	node.values["west/visits/w"] = "3"
	node.values["west/title/w"] = `{"value":"west","counter":7,"writer":"w"}`
	node.values["west/other"] = "not ours"
	if err := (writer{replica: r, name: "e", own: "east"}).write(t.Context(), 2, "east"); err != nil {
		t.Fatal(err)
	}
	s, err := r.read(t.Context())
	if want := "visits=5 title='east' stamp=8:e"; err != nil || s.String() != want {
		t.Errorf("%v, %v, want %s", s, err, want)
	}
	for key, value := range map[string]string{"visits/w": "-1", "title/w": `{"writer":"x"}`} {
		if s, err := parse(key, []byte(value)); err == nil {
			t.Errorf("%s=%s is read as %v", key, value, s)
		}
	}
}

func TestLink(t *testing.T) {
	ctx, cut := context.WithCancel(t.Context())
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = echo.Close() }()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	from := free.Addr().String()
	_ = free.Close()
	done := make(chan error, 1)
	go func() { done <- runLink(ctx, []string{from + "=" + echo.Addr().String()}) }()
	var conn net.Conn
	for conn == nil { // until it listens
		select {
		case err := <-done:
			t.Fatalf("the link ended: %v", err)
		default:
			conn, _ = net.Dial("tcp", from)
		}
	}
	defer func() { _ = conn.Close() }()
	served, err := echo.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = served.Close() }()
	for _, way := range [][2]net.Conn{{conn, served}, {served, conn}} {
		if _, err := way[0].Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 5)
		if _, err := io.ReadFull(way[1], got); err != nil || string(got) != "hello" {
			t.Fatalf("%q, %v", got, err)
		}
	}
	cut()
	if n, err := conn.Read(make([]byte, 1)); err == nil {
		t.Errorf("a cut link carries %d bytes", n)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := runLink(t.Context(), []string{"127.0.0.1:0=127.0.0.1:1", "nonsense"}); err == nil {
		t.Error("a route without an end is taken")
	}
}
