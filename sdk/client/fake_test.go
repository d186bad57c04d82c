package client_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/unisondb/unisondb/sdk/client"
)

const (
	lineage   = "00112233445566778899aabbccddeeff"
	position7 = lineage + ":1048577:7"
)

// seen is a request as it arrived.
type seen struct {
	method string
	uri    string // as sent, with nothing decoded
	header http.Header
	body   string
}

// fakeNode records requests and answers what it was told to.
type fakeNode struct {
	*httptest.Server

	mu       sync.Mutex
	requests []seen
	answers  []http.HandlerFunc // the last one repeats
}

func newFakeNode(t *testing.T, answers ...http.HandlerFunc) *fakeNode {
	t.Helper()
	f := &fakeNode{answers: answers}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fakeNode) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	f.mu.Lock()
	f.requests = append(f.requests, seen{r.Method, r.RequestURI, r.Header, string(body)})
	answer := f.answers[0]
	if len(f.answers) > 1 {
		f.answers = f.answers[1:]
	}
	f.mu.Unlock()
	answer(w, r)
}

func (f *fakeNode) seen() []seen {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]seen(nil), f.requests...)
}

// last is the newest request.
func (f *fakeNode) last(t *testing.T) seen {
	t.Helper()
	all := f.seen()
	if len(all) == 0 {
		t.Fatal("no request arrived")
	}
	return all[len(all)-1]
}

// client connects to the fake.
func (f *fakeNode) client(t *testing.T) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{Address: f.URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// jsonAnswer answers JSON at position 7.
func jsonAnswer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if status == http.StatusOK {
			w.Header().Set("X-Unisondb-Position", position7)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// bytesAnswer answers bytes at position 7 with more headers, given in pairs.
func bytesAnswer(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("X-Unisondb-Position", position7)
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

var success = jsonAnswer(http.StatusOK, `{"success":true}`)

func mustPosition(t *testing.T, s string) client.Position {
	t.Helper()
	p, err := client.ParsePosition(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
