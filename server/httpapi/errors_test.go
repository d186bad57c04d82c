package httpapi_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/server/httpapi"
)

func TestBadInput(t *testing.T) {
	f := newFixture(t)
	long := strings.Repeat("k", 401)
	for _, tc := range []struct {
		name, method, path, body string
		status                   int
		code                     string
	}{
		{"no JSON", "PUT", "/kv/a", `{"value":`, 400, httpapi.CodeInvalidJSON},
		{"no body", "PUT", "/kv/a", ``, 400, httpapi.CodeInvalidJSON},
		{"white space", "PUT", "/kv/a", "  \n", 400, httpapi.CodeInvalidJSON},
		{"another type", "PUT", "/kv/a", `[1]`, 400, httpapi.CodeInvalidJSON},
		{"a number as value", "PUT", "/kv/a", `{"value":1}`, 400, httpapi.CodeInvalidJSON},
		{"null", "PUT", "/kv/a", `null`, 400, httpapi.CodeBadRequest},
		{"null value", "PUT", "/kv/a", `{"value":null}`, 400, httpapi.CodeBadRequest},
		{"no value", "PUT", "/kv/a", `{}`, 400, httpapi.CodeBadRequest},
		{"unknown field", "PUT", "/kv/a", `{"value":"","valeu":""}`, 400, httpapi.CodeInvalidJSON},
		{"two values", "PUT", "/kv/a", `{"value":""}{"value":""}`, 400, httpapi.CodeInvalidJSON},
		{"garbage behind", "PUT", "/kv/a", `{"value":""} x`, 400, httpapi.CodeInvalidJSON},
		{"invalid UTF-8", "PUT", "/kv/a", "{\"value\":\"\xff\"}", 400, httpapi.CodeInvalidJSON},
		{"half a surrogate pair", "PUT", "/row/a", `{"columns":{"\ud800":""}}`, 400, httpapi.CodeInvalidJSON},
		{"the other half", "PUT", "/row/a", `{"columns":{"\udc00":""}}`, 400, httpapi.CodeInvalidJSON},
		{"base64 without padding", "PUT", "/kv/a", `{"value":"YQ"}`, 400, httpapi.CodeInvalidBase64},
		{"URL base64", "PUT", "/kv/a", `{"value":"_-8="}`, 400, httpapi.CodeInvalidBase64},
		{"base64 with a line break", "PUT", "/kv/a", `{"value":"YWFh\nYWFh"}`, 400, httpapi.CodeInvalidBase64},
		{"base64 with bits too many", "PUT", "/kv/a", `{"value":"YR=="}`, 400, httpapi.CodeInvalidBase64},
		{"empty key", "PUT", "/kv/", `{"value":""}`, 400, httpapi.CodeInvalidKey},
		{"empty key, GET", "GET", "/kv/", "", 400, httpapi.CodeInvalidKey},
		{"empty key, touch", "POST", "/kv//touch?ttl=1s", "", 400, httpapi.CodeInvalidKey},
		{"empty row key", "DELETE", "/row/", "", 400, httpapi.CodeInvalidKey},
		{"empty row key, columns", "DELETE", "/row//columns?columns=a", "", 400, httpapi.CodeInvalidKey},
		{"empty object key", "PUT", "/lob/", "x", 400, httpapi.CodeInvalidKey},
		{"long key", "PUT", "/kv/" + long, `{"value":""}`, 400, httpapi.CodeInvalidKey},
		{"long key, GET", "GET", "/kv/" + long, "", 400, httpapi.CodeInvalidKey},
		{"long object key", "PUT", "/lob/" + long, "x", 400, httpapi.CodeInvalidKey},
		{"long row key", "GET", "/row/" + long, "", 400, httpapi.CodeInvalidKey},
		{"row key and column too long together", "PUT", "/row/" + long[:200], `{"columns":{"` + long[:201] + `":""}}`, 400, httpapi.CodeInvalidKey},
		{"empty column name", "PUT", "/row/a", `{"columns":{"":""}}`, 400, httpapi.CodeInvalidKey},
		{"column that is no text", "GET", "/row/a?columns=%FF", "", 400, httpapi.CodeInvalidKey},
		{"null column", "PUT", "/row/a", `{"columns":{"a":null}}`, 400, httpapi.CodeBadRequest},
		{"bad base64 in a column", "PUT", "/row/a", `{"columns":{"a":"!"}}`, 400, httpapi.CodeInvalidBase64},
		{"no columns", "PUT", "/row/a", `{}`, 400, httpapi.CodeEmptyRequest},
		{"empty columns", "PUT", "/row/a", `{"columns":{}}`, 400, httpapi.CodeEmptyRequest},
		{"no columns to delete", "DELETE", "/row/a/columns", ``, 400, httpapi.CodeEmptyRequest},
		{"empty columns to delete", "DELETE", "/row/a/columns", `{"columns":{}}`, 400, httpapi.CodeEmptyRequest},
		{"columns twice", "DELETE", "/row/a/columns?columns=a", `{"columns":{"b":""}}`, 400, httpapi.CodeBadRequest},
		{"empty items", "POST", "/kv/batch", `{"operation":"put","items":[]}`, 400, httpapi.CodeEmptyRequest},
		{"no items", "POST", "/kv/batch", `{"operation":"put"}`, 400, httpapi.CodeEmptyRequest},
		{"empty keys", "POST", "/kv/batch", `{"operation":"delete","keys":[]}`, 400, httpapi.CodeEmptyRequest},
		{"no keys", "POST", "/kv/batch", `{"operation":"get"}`, 400, httpapi.CodeEmptyRequest},
		{"an empty key among keys", "POST", "/kv/batch", `{"operation":"get","keys":["a",""]}`, 400, httpapi.CodeInvalidKey},
		{"keys of a put", "POST", "/kv/batch", `{"operation":"put","keys":["a"]}`, 400, httpapi.CodeBadRequest},
		{"keys and items", "POST", "/kv/batch", `{"operation":"get","keys":["a"],"items":[{"key":"a"}]}`, 400, httpapi.CodeBadRequest},
		{"values of a delete", "POST", "/kv/batch", `{"operation":"delete","items":[{"key":"a","value":""}]}`, 400, httpapi.CodeBadRequest},
		{"unknown operation", "POST", "/kv/batch", `{"operation":"increment","keys":["a"]}`, 400, httpapi.CodeUnknownOperation},
		{"no operation", "POST", "/kv/batch", `{"keys":["a"]}`, 400, httpapi.CodeUnknownOperation},
		{"empty rows", "POST", "/row/batch", `{"operation":"put","rows":[]}`, 400, httpapi.CodeEmptyRequest},
		{"unknown row operation", "POST", "/row/batch", `{"operation":"get","rows":[{"rowKey":"a"}]}`, 400, httpapi.CodeUnknownOperation},
		{"row without columns", "POST", "/row/batch", `{"operation":"put","rows":[{"rowKey":"a"}]}`, 400, httpapi.CodeEmptyRequest},
		{"row with columns to delete", "POST", "/row/batch", `{"operation":"delete","rows":[{"rowKey":"a","columns":{"c":""}}]}`, 400, httpapi.CodeBadRequest},
		{"row without a key", "POST", "/row/batch", `{"operation":"delete","rows":[{}]}`, 400, httpapi.CodeInvalidKey},
		{"bad query", "GET", "/kv?prefix=%zz", "", 400, httpapi.CodeBadRequest},
		{"bad flag", "GET", "/kv?reverse=backwards", "", 400, httpapi.CodeBadRequest},
		{"long prefix", "GET", "/kv?prefix=" + long, "", 400, httpapi.CodeInvalidKey},
		{"bad wait", "GET", "/kv/a?wait=5", "", 400, httpapi.CodeBadRequest},
		{"wait without end", "GET", "/kv/a?wait=1000h", "", 400, httpapi.CodeBadRequest},
		{"acks that is no number", "PUT", "/kv/a?acks=quorum", `{"value":""}`, 400, httpapi.CodeBadRequest},
		{"no acks", "PUT", "/kv/a?acks=", `{"value":""}`, 400, httpapi.CodeBadRequest},
		{"fewer than none", "PUT", "/kv/a?acks=-1", `{"value":""}`, 400, httpapi.CodeBadRequest},
		{"too many acks", "PUT", "/kv/a?acks=1001", `{"value":""}`, 400, httpapi.CodeBadRequest},
		{"acks over the range of a number", "PUT", "/kv/a?acks=65536", `{"value":""}`, 400, httpapi.CodeBadRequest},
		{"the past", "GET", "/kv/a?as_of=5", "", 410, httpapi.CodeHistoryGone},
		{"the past by time", "GET", "/kv/a?as_of=2026-01-02T03:04:05Z", "", 410, httpapi.CodeHistoryGone},
		{"no time at all", "GET", "/kv/a?as_of=yesterday", "", 400, httpapi.CodeBadRequest},
		{"no transaction's object key", "POST", "/tx/00/lob", "x", 400, httpapi.CodeInvalidKey},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f.t = t
			f.do(tc.method, tc.path, tc.body).refused(tc.status, tc.code)
		})
	}
	f.t = t
	f.do("GET", "/kv", "").want(200, `{"items":[]}`)
	f.do("GET", "/row", "").want(200, `{"rows":[]}`)
	f.do("GET", "/lob", "").want(200, `{"items":[]}`)
}

func TestErrorsNameTheField(t *testing.T) {
	f := newFixture(t)
	for body, name := range map[string]string{
		`{"operation":"put","items":[{"key":"a","value":""},{"key":"b","value":"!"}]}`: "items[1].value",
		`{"operation":"put","items":[{"key_base64":"!","value":""}]}`:                  "items[0].key_base64",
		`{"operation":"put","items":[{"key":"a","value":"","colour":"red"}]}`:          `"colour"`,
		`{"operation":"put","items":[{"key":7,"value":""}]}`:                           "items.key",
		`{"operation":"delete","keys":["a","` + strings.Repeat("x", 401) + `"]}`:       "keys[1]",
	} {
		if text := f.do("POST", "/kv/batch", body).refusedWith(400).field("error"); !strings.Contains(text, name) {
			t.Errorf("%.60s…: the error doesn't name %s: %s", body, name, text)
		}
	}
}

func (a answer) refusedWith(status int) answer {
	a.t.Helper()
	if a.status != status {
		a.t.Errorf("%s: answered %d, want %d: %s", a.what, a.status, status, a.body)
	}
	return a
}

func TestUnknownRoutesAndMethods(t *testing.T) {
	f := newFixture(t)
	for _, path := range []string{
		"!/", "!/nothing", "!/api", "!/api/v1", "!/api/v1/", "!/api/v2/default/kv/a", "!/v1", "!/v1/statuses", "!/healthy", "!//health", "!/health/",
		"!/v1/namespaces/default/", "!/v1/namespaces/default/marks", "!/v1/namespaces/default/mark/1",
		"", "/", "/kvs", "/KV/a", "/tx/x", "/tx/x/y", "/tx//commit", "/tx/x/commit/now", "/offset/", "/offset/x", "/wal", "/wal/backup/x", "/btree", "/history", "/model", "/model/", "/model/vector", "/model/vector/", "/model//search",
		"!/v1/plugins/x/", "!/v1/plugins/x/nothing", "!/v1/plugins/x/dead-letters/", "!/v1/plugins/", "!/v1/reload/",
		"!/v1/raft", "!/v1/raft/", "!/v1/raft/peer", "!/v1/topology/", "!/v1/topology/show", "!/v1/hubs/", "!/v1/snapshot/", "!/v1/relayers/", "!/v1/relayers/x/", "!/v1/relayers/x/drains", "!/v1/relayers/tokens/",
	} {
		f.do("GET", path, "").refused(404, httpapi.CodeRouteNotFound)
	}
	for _, path := range []string{"/watch", "/watch?from=1", "/history/kv/a"} {
		f.do("GET", path, "").refused(404, httpapi.CodeNotBuilt)
	}
	for _, tc := range []struct{ method, path, allow string }{
		{"PATCH", "/kv/a", "DELETE, GET, HEAD, PUT"}, {"POST", "/kv/a", "DELETE, GET, HEAD, PUT"}, {"OPTIONS", "/kv/a", "DELETE, GET, HEAD, PUT"},
		{"PUT", "/kv", "GET, HEAD"}, {"POST", "/kv", "GET, HEAD"}, {"POST", "/row/a/columns", "DELETE, GET, HEAD, PUT"},
		{"POST", "/lob/a", "DELETE, GET, HEAD, PUT"}, {"DELETE", "/lob", "GET, HEAD"}, {"GET", "/tx", "POST"}, {"GET", "/tx/begin", "POST"},
		{"DELETE", "/tx/00/commit", "POST"}, {"POST", "/offset", "GET, HEAD"}, {"GET", "/wal/backup", "POST"}, {"GET", "/btree/backup", "POST"},
		{"POST", "!/health", "GET, HEAD"}, {"DELETE", "!/v1/namespaces", "GET, HEAD, POST"}, {"POST", "!/metrics", "GET, HEAD"}, {"QUERY", "/stats", "GET, HEAD"},
		{"POST", "!/v1/namespaces/default", "DELETE, GET, HEAD, PUT"}, {"GET", "!/v1/namespaces/default/accept", "POST"}, {"GET", "!/v1/namespaces/default/mark", "POST"},
		{"POST", "!/v1/namespaces/default/digests", "GET, HEAD"}, {"GET", "!/v1/namespaces/default/scrub", "POST"},
	} {
		a := f.do(tc.method, tc.path, "").refused(405, httpapi.CodeMethodNotAllowed)
		if got := a.header.Get("Allow"); got != tc.allow {
			t.Errorf("%s %s: Allow is %q, want %q", tc.method, tc.path, got, tc.allow)
		}
	}
}

func TestUnknownNamespaces(t *testing.T) {
	f := newFixture(t)
	for _, name := range []string{"none", "..", "%2E%2E", "..%2F..%2Fetc", "a%2Fb", "%00", "%FF", "", strings.Repeat("n", 65), "-x", "LOCK", "de fault"} {
		f.do("GET", "!/api/v1/"+strings.ReplaceAll(name, " ", "%20")+"/kv/a", "").refused(404, httpapi.CodeNamespaceNotFound)
		f.do("PUT", "!/api/v1/"+strings.ReplaceAll(name, " ", "%20")+"/kv/a", putJSON("v")).refused(404, httpapi.CodeNamespaceNotFound)
		f.do("GET", "!/v1/namespaces/"+strings.ReplaceAll(name, " ", "%20"), "").refused(404, httpapi.CodeNamespaceNotFound)
		f.do("GET", "!/v1/namespaces/"+strings.ReplaceAll(name, " ", "%20")+"/digests", "").refused(404, httpapi.CodeNamespaceNotFound)
	}
	if got := fmt.Sprint(f.node.Names()); got != "[default other]" {
		t.Errorf("namespaces are now %s", got)
	}
	f.do("GET", "!/api/v1/de%66ault/kv/a", "").want(200, `{"value":"","found":false}`)
}

func TestKernelErrors(t *testing.T) {
	f := newFixture(t)
	for _, tc := range []struct {
		err    error
		status int
		code   string
		retry  string
	}{
		{dbkernel.ErrReadOnly, 403, httpapi.CodeReadOnly, ""},
		{dbkernel.ErrFrozen, 503, httpapi.CodeFrozen, ""},
		{dbkernel.ErrDiskFull, 503, httpapi.CodeDiskFull, "10"},
		{dbkernel.ErrOutcomeUnknown, 503, httpapi.CodeOutcomeUnknown, ""},
		{fmt.Errorf("%w: %w", dbkernel.ErrOutcomeUnknown, dbkernel.ErrFrozen), 503, httpapi.CodeOutcomeUnknown, ""},
		{dbkernel.ErrDamaged, 500, httpapi.CodeDamaged, ""},
		{dbkernel.ErrSuperseded, 503, httpapi.CodeNotReady, "1"},
		{dbkernel.ErrNotReady, 503, httpapi.CodeNotReady, "1"},
		{dbkernel.ErrNewerFormat, 503, httpapi.CodeNewerFormat, ""},
		{dbkernel.ErrLogBehind, 503, httpapi.CodeLogBehind, ""},
		{dbkernel.ErrClosed, 503, httpapi.CodeShuttingDown, "1"},
		{dbkernel.ErrQuota, 429, httpapi.CodeQuotaExceeded, "1"},
		{&dbkernel.QuotaError{RetryAfter: 1500 * time.Millisecond}, 429, httpapi.CodeQuotaExceeded, "2"},
		{dbkernel.ErrTrimmed, 410, httpapi.CodeTrimmed, ""},
		{dbkernel.ErrPositionLost, 409, httpapi.CodePositionLost, ""},
		{dbkernel.ErrNotCaughtUp, 504, httpapi.CodeNotCaughtUp, ""},
		{dbkernel.ErrTooLarge, 413, httpapi.CodeTooLarge, ""},
		{context.Canceled, 503, httpapi.CodeOutcomeUnknown, ""},
		{&httpapi.StateError{Namespace: "x", State: "missing", Code: httpapi.CodeNamespaceMissing, Reason: "its data is gone"}, 503, httpapi.CodeNamespaceMissing, ""},
		{errors.New("something unforeseen"), 500, httpapi.CodeInternal, ""},
	} {
		f.node.refused["x"] = fmt.Errorf("writing: %w", tc.err)
		a := f.do("PUT", "!/api/v1/x/kv/a", putJSON("v")).refused(tc.status, tc.code)
		if got := a.header.Get("Retry-After"); got != tc.retry {
			t.Errorf("%v: Retry-After is %q, want %q", tc.err, got, tc.retry)
		}
		owner := a.header.Get(httpapi.HeaderOwner)
		if wantOwner := map[bool]string{true: "hub-a"}[tc.status == 403]; owner != wantOwner {
			t.Errorf("%v: owner is %q, want %q", tc.err, owner, wantOwner)
		}
	}
	f.node.refused["x"] = context.Canceled
	f.do("GET", "!/api/v1/x/kv/a", "").refused(503, httpapi.CodeCanceled)
}

func TestAPanicIsAnAnswer(t *testing.T) {
	f := newFixture(t)
	f.do("GET", "!/api/v1/panics/kv/a", "").refused(500, httpapi.CodeInternal)
	f.do("GET", "/kv/a", "").want(200, `{"value":"","found":false}`)
}

func TestWhatIsNoHTTPIsRefusedInJSON(t *testing.T) {
	f := newFixture(t)
	for request, want := range map[string]int{
		"GET /api/v1/default/kv/100% HTTP/1.1\r\nHost: x\r\n\r\n":                           400,
		"PUT /api/v1/default/kv/%zz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n":       400,
		"GET /api/v1/default/kv/a HTTP/1.1\r\n\r\n":                                         400,
		"GET /api/v1/default/kv/a HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 80<<10): 431,
	} {
		conn := f.dial()
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		var e struct{ Error, Code string }
		err = errors.Join(json.NewDecoder(resp.Body).Decode(&e), resp.Body.Close())
		if err != nil || resp.StatusCode != want || e.Code != httpapi.CodeBadRequest || e.Error == "" || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%.50q: %v, %s, %v, %+v", request, err, resp.Status, resp.Header, e)
		}
	}
}

func TestAValueThatLooksLikeARefusalStaysAsItIs(t *testing.T) {
	f := newFixture(t)
	refusal := "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n400 Bad Request"
	for _, size := range []int{0, 4 << 10, 64 << 10, 256 << 10, 512 << 10} {
		value := strings.Repeat("x", size) + refusal
		f.do("PUT", "/lob/o", value)
		if a := f.do("GET", "/lob/o", ""); string(a.body) != value {
			t.Errorf("a refusal behind %d bytes reads as %.80q", size, a.body[min(size, len(a.body)):])
		}
	}
}

func TestReplicasRefuseWrites(t *testing.T) {
	f := newFixture(t, func(o *fixtureOptions) { o.replica = true })
	for _, a := range []answer{
		f.do("PUT", "/kv/a", putJSON("v")), f.do("DELETE", "/kv/a", ""), f.do("PUT", "/row/a", `{"columns":{"c":""}}`),
		f.do("PUT", "/lob/a", "x"), f.do("POST", "/kv/batch", `{"operation":"delete","keys":["a"]}`), f.do("POST", "/tx", `{"then":[{"op":"delete","key":"a"}]}`),
		f.do("DELETE", "/lob/a", ""), f.do("DELETE", "/row/a/columns?columns=c", ""), f.do("PUT", "/kv/a", putJSON("v"), header{"If-None-Match", "*"}),
		f.do("POST", "/kv/a/touch?ttl=1s", ""), f.do("PUT", "/kv/a", putJSON("v"), header{"If-Match", "*"}), f.do("DELETE", "/row/a", "", header{"If-Match", "*"}),
		f.do("PUT", "/lob/a", "x", header{"If-Match", "*"}), f.do("DELETE", "/lob/a", "", header{"If-Match", "*"}),
	} {
		a.refused(403, httpapi.CodeReadOnly)
		if got := a.header.Get(httpapi.HeaderOwner); got != "hub-a" {
			t.Errorf("%s: the owner is %q", a.what, got)
		}
	}
	f.do("GET", "/kv/a", "").want(200, `{"value":"","found":false}`)
	f.do("POST", "/kv/batch", `{"operation":"get","keys":["a"]}`).want(200, `{"items":[{"key":"a","value":"","found":false}]}`)

	// A transaction that only reads is a read: of one state, at least the one that is asked for.
	reads := `{"if":[{"key":"a","exists":true}],"then":[{"op":"delete","key":"a"}],"else":[{"op":"get","key":"a"},{"op":"get","rowKey":"r"}]}`
	p := f.do("POST", "/tx", reads).want(200, `{"succeeded":false,"results":[{"key":"a","value":"","found":false},{"columns":{},"found":false}]}`).position()
	p.LSN++
	f.do("POST", "/tx?wait=1ms", reads, header{httpapi.HeaderAtLeast, p.String()}).refused(504, httpapi.CodeNotCaughtUp)
	f.do("POST", "/tx/begin", "{}").refused(403, httpapi.CodeReadOnly)
}

func TestQuota(t *testing.T) {
	f := newFixture(t, func(o *fixtureOptions) { o.quota = dbkernel.Quota{MaxBytes: 1000} })
	a := f.do("PUT", "/kv/a", strings.Repeat("v", 2000), octets).refused(429, httpapi.CodeQuotaExceeded)
	if a.header.Get("Retry-After") == "" {
		t.Error("Retry-After is missing")
	}
	f.do("PUT", "/kv/a", strings.Repeat("v", 100), octets).want(200, ok)
	f.do("DELETE", "/kv/a", "").want(200, ok)
}

func TestDraining(t *testing.T) {
	f := newFixture(t)
	f.do("PUT", "/kv/a", putJSON("v")).want(200, ok)
	f.api.Drain()
	f.do("PUT", "/kv/a", putJSON("v")).refused(503, httpapi.CodeShuttingDown)
	if a := f.do("GET", "/kv/a", "").refused(503, httpapi.CodeShuttingDown); a.header.Get("Retry-After") == "" {
		t.Error("Retry-After is missing")
	}
	f.do("GET", "!/health", "").want(200, `{"status":"ok","namespaces":["default","other"]}`)
	f.do("GET", "!/ready", "").refused(503, httpapi.CodeNotReady)
}

func TestACutBodyWritesNothing(t *testing.T) {
	f := newFixture(t)
	for _, path := range []string{"/kv/cut", "/lob/cut"} {
		addr, err := net.ResolveTCPAddr("tcp", strings.TrimPrefix(f.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.DialTCP("tcp", nil, addr)
		if err != nil {
			t.Fatal(err)
		}
		_, err = fmt.Fprintf(conn, "PUT /api/v1/default%s HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\nContent-Length: 100\r\n\r\nonly this", path)
		if err == nil {
			err = conn.CloseWrite()
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(conn)
		if err != nil || !bytes.Contains(b, []byte("400 Bad Request")) || !bytes.Contains(b, []byte(`"code":"BAD_REQUEST"`)) {
			t.Errorf("%s: %v: %s", path, err, b)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	f.do("GET", "/kv/cut", "").want(200, `{"value":"","found":false}`)
	f.do("GET", "/lob/cut", "").refused(404, httpapi.CodeObjectNotFound)
}

func TestMetricsOff(t *testing.T) {
	f := newFixture(t)
	f.do("GET", "!/metrics", "").refusedWith(200)
	off := httpapi.New(httpapi.Options{Node: f.node})
	rec := newRecorder()
	off.ServeHTTP(rec, mustRequest(t, "GET", "/metrics"))
	if rec.status != http.StatusNotFound {
		t.Errorf("without metrics the route answers %d", rec.status)
	}
}

// recorder is an http.ResponseWriter without a connection.
type recorder struct {
	header http.Header
	status int
	bytes.Buffer
}

func newRecorder() *recorder { return &recorder{header: http.Header{}} }

func (r *recorder) Header() http.Header { return r.header }

func (r *recorder) WriteHeader(status int) { r.status = status }

func mustRequest(t *testing.T, method, path string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}
