package httpapi_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/unisondb/unisondb/server/httpapi"
)

func TestKVPutGetDelete(t *testing.T) {
	f := newFixture(t)
	f.do("GET", "/kv/a", "").want(200, `{"value":"","found":false}`)
	put := f.do("PUT", "/kv/a", putJSON("one")).want(200, ok)
	got := f.do("GET", "/kv/a", "").want(200, `{"value":"`+b64("one")+`","found":true,"version":"<any>"}`)
	if put.position() != got.position() {
		t.Errorf("the read saw %v, the write made %v", got.position(), put.position())
	}
	second := f.do("PUT", "/kv/a", `{"value":""}`).want(200, ok)
	again := f.do("GET", "/kv/a", "").want(200, `{"value":"","found":true,"version":"<any>"}`)
	if again.field("version") == got.field("version") {
		t.Error("the version didn't change with a write")
	}
	if second.position().LSN <= put.position().LSN {
		t.Errorf("positions don't rise: %v, then %v", put.position(), second.position())
	}
	f.do("DELETE", "/kv/a", "").want(200, ok).position()
	f.do("GET", "/kv/a", "").want(200, `{"value":"","found":false}`).position()
	f.do("DELETE", "/kv/a", "").want(200, ok)
}

func TestKVRaw(t *testing.T) {
	f := newFixture(t)
	value := string([]byte{0, 1, 0xff, '\n', '"'})
	f.do("PUT", "/kv/raw", value, octets).want(200, ok)
	accept := header{"Accept", "application/octet-stream"}
	version := f.do("GET", "/kv/raw", "").want(200, `{"value":"`+b64(value)+`","found":true,"version":"<any>"}`).field("version")
	for _, a := range []answer{f.do("GET", "/kv/raw", "", accept), f.do("GET", "/kv/raw?raw=true", "")} {
		if a.status != 200 || string(a.body) != value || a.header.Get("Content-Type") != "application/octet-stream" {
			t.Errorf("%s: %d %q", a.what, a.status, a.body)
		}
		if a.header.Get("ETag") != `"`+version+`"` {
			t.Errorf("ETag is %s, the version is %s", a.header.Get("ETag"), version)
		}
		a.position()
	}
	f.do("GET", "/kv/none?raw=true", "").refused(404, httpapi.CodeKeyNotFound).position()
	f.do("GET", "/kv/none", "", accept).refused(404, httpapi.CodeKeyNotFound)
	f.do("GET", "/kv/raw?raw=maybe", "").refused(400, httpapi.CodeBadRequest)
	if a := f.do("GET", "/kv/raw?raw=true", "", header{"If-None-Match", `"` + version + `"`}); a.status != 304 || len(a.body) != 0 {
		t.Errorf("a value that the client has: %d %q", a.status, a.body)
	}
	if a := f.do("HEAD", "/kv/raw?raw=true", ""); a.status != 200 || a.header.Get("Content-Length") != "5" || len(a.body) != 0 {
		t.Errorf("HEAD: %d, %s bytes announced", a.status, a.header.Get("Content-Length"))
	}
	f.do("GET", "/kv/raw", "", header{"Accept", "application/json, application/octet-stream"}).want(200, `{"value":"<any>","found":true,"version":"<any>"}`)
}

// anyBytes are keys that paths and JSON are likely to get wrong.
var anyBytes = []string{
	"/", "//", "a//b", "/a/", ".", "..", "../x", "a/../b", "%", "%2F", "%%", "a b", "a+b", "?", "#", "a?b=c#d", ";", "\x00", "a\x00b",
	"\xff", "\xff\xfe\xfd", "\xc3\x28", "ünïcode", "日本", "\ufffd", "\ud7ff", "\u2028", "<>&", `"`, `\`, "\n", "batch", "touch", "x/touch", "columns", "x/columns",
	strings.Repeat("k", 400), strings.Repeat("\xff", 400), "begin",
}

func TestKeysOfAnyBytesComeBackOnEveryRoute(t *testing.T) {
	f := newFixture(t)
	for i, key := range anyBytes {
		value := fmt.Sprintf("value %d", i)
		f.do("PUT", "/kv/"+escape(key), putJSON(value)).want(200, ok)
		f.do("PUT", "/row/"+escape(key), `{"columns":{"c":"`+b64(value)+`"}}`).refusedOrOK(len(key) < 400)
		f.do("PUT", "/lob/"+escape(key), value).want(200, `{"success":true,"size":`+fmt.Sprint(len(value))+`,"checksum":"<any>","version":"<any>"}`)
	}
	for i, key := range anyBytes {
		value := fmt.Sprintf("value %d", i)
		if a := f.do("GET", "/kv/"+escape(key)+"?raw=1", ""); string(a.body) != value {
			t.Errorf("key %q answers %q, want %q", key, a.body, value)
		}
		if a := f.do("GET", "/lob/"+escape(key), ""); string(a.body) != value {
			t.Errorf("object %q answers %q, want %q", key, a.body, value)
		}
		if len(key) < 400 {
			f.do("GET", "/row/"+escape(key), "").want(200, `{`+jsonKey(t, "rowKey", "row_key_base64", key)+`,"columns":{"c":"`+b64(value)+`"},"found":true,"version":"<any>"}`)
		}
		f.do("POST", "/kv/batch", `{"operation":"get","items":[{`+jsonKey(t, "key", "key_base64", key)+`}]}`).
			want(200, `{"items":[{`+jsonKey(t, "key", "key_base64", key)+`,"value":"`+b64(value)+`","version":"<any>","found":true}]}`)
		f.do("POST", "/tx", `{"then":[{"op":"get","type":"kv","key_base64":"`+b64(key)+`"}]}`).
			want(200, `{"succeeded":true,"results":[{`+jsonKey(t, "key", "key_base64", key)+`,"value":"`+b64(value)+`","version":"<any>","found":true}]}`)
		f.do("POST", "/kv/"+escape(key)+"/touch?ttl=1h", "").want(200, ok)
	}
	if got, want := len(f.listAll("/kv?limit=7", "items", "key", "key_base64")), len(unique(anyBytes)); got != want {
		t.Errorf("the list has %d keys, want %d", got, want)
	}
	for _, key := range f.listAll("/kv?limit=7", "items", "key", "key_base64") {
		f.do("DELETE", "/kv/"+escape(key), "").want(200, ok)
		f.do("DELETE", "/lob/"+escape(key), "").want(200, ok)
		f.do("DELETE", "/row/"+escape(key), "").want(200, ok)
	}
	for _, list := range []string{"/kv", "/lob"} {
		f.do("GET", list, "").want(200, `{"items":[]}`)
	}
	f.do("GET", "/row", "").want(200, `{"rows":[]}`)
}

// refusedOrOK is for keys that are too long for a row with a column.
func (a answer) refusedOrOK(fits bool) {
	a.t.Helper()
	if fits {
		a.want(200, ok)
	} else {
		a.refused(400, httpapi.CodeInvalidKey)
	}
}

func unique(keys []string) map[string]bool {
	m := map[string]bool{}
	for _, k := range keys {
		m[k] = true
	}
	return m
}

// jsonKey is the field that an answer has for the key.
func jsonKey(t *testing.T, plain, encoded, key string) string {
	t.Helper()
	if strings.ToValidUTF8(key, "") != key {
		return `"` + encoded + `":"` + b64(key) + `"`
	}
	b, err := json.Marshal(key)
	if err != nil {
		t.Fatal(err)
	}
	return `"` + plain + `":` + string(b)
}

// listAll follows cursors to the end and returns the keys.
func (f *fixture) listAll(path, list, plain, encoded string) []string {
	f.t.Helper()
	var keys []string
	cursor := ""
	for range 1000 {
		sep := "&"
		if !strings.Contains(path, "?") {
			sep = "?"
		}
		a := f.do("GET", path+sep+"cursor="+cursor, "")
		var page map[string]json.RawMessage
		if err := json.Unmarshal(a.body, &page); err != nil || a.status != 200 {
			f.t.Fatalf("%s: %d %s", a.what, a.status, a.body)
		}
		var items []map[string]any
		if err := json.Unmarshal(page[list], &items); err != nil {
			f.t.Fatal(err)
		}
		for _, item := range items {
			if s, ok := item[plain].(string); ok {
				keys = append(keys, s)
				continue
			}
			var b []byte
			if err := json.Unmarshal(fmt.Appendf(nil, "%q", item[encoded]), &b); err != nil {
				f.t.Fatal(err)
			}
			keys = append(keys, string(b))
		}
		if cursor = a.field("cursor"); cursor == "" {
			return keys
		}
	}
	f.t.Fatal("the list doesn't end")
	return nil
}

func TestKVBatch(t *testing.T) {
	f := newFixture(t)
	f.do("POST", "/kv/batch", `{"operation":"put","items":[{"key":"a","value":"`+b64("1")+`"},{"key_base64":"`+b64("b")+`","value":"`+b64("2")+`"}]}`).
		want(200, `{"success":true,"count":2}`).position()
	f.do("POST", "/kv/batch", `{"operation":"get","keys":["b","none","a","b"]}`).want(200, `{"items":[
		{"key":"b","value":"`+b64("2")+`","version":"<any>","found":true},
		{"key":"none","value":"","found":false},
		{"key":"a","value":"`+b64("1")+`","version":"<any>","found":true},
		{"key":"b","value":"`+b64("2")+`","version":"<any>","found":true}]}`).position()
	f.do("POST", "/kv/batch", `{"operation":"delete","keys":["a","none"]}`).want(200, `{"success":true,"count":2}`)
	f.do("GET", "/kv/a", "").want(200, `{"value":"","found":false}`)
	f.do("POST", "/kv/batch", `{"operation":"delete","items":[{"key_base64":"`+b64("b")+`"}]}`).want(200, `{"success":true,"count":1}`)
	f.do("GET", "/kv/b", "").want(200, `{"value":"","found":false}`)
}

func TestAFaultyBatchWritesNothing(t *testing.T) {
	f := newFixture(t)
	good := `{"key":"good","value":""}`
	for _, bad := range []string{
		`{"key":"","value":""}`, `{"key":"x"}`, `{"value":""}`, `{"key":"x","value":"*"}`, `{"key":"x","key_base64":"eA==","value":""}`,
		`{"key":"` + strings.Repeat("k", 401) + `","value":""}`, `{"key":"x","value":"","extra":1}`, `{"key":"\ud800","value":""}`,
	} {
		if a := f.do("POST", "/kv/batch", `{"operation":"put","items":[`+good+`,`+bad+`]}`); a.status != 400 {
			t.Errorf("%s: answered %d: %s", bad, a.status, a.body)
		}
	}
	f.do("GET", "/kv", "").want(200, `{"items":[]}`)
	f.do("GET", "/row", "").want(200, `{"rows":[]}`)
}

func TestKVList(t *testing.T) {
	f := newFixture(t)
	var items []string
	for i := range 25 {
		items = append(items, fmt.Sprintf(`{"key":"k%02d","value":"%s"}`, i, b64(fmt.Sprint(i))))
	}
	f.do("POST", "/kv/batch", `{"operation":"put","items":[`+strings.Join(items, ",")+`,{"key":"other","value":""}]}`).want(200, `{"success":true,"count":26}`)
	f.do("GET", "/kv?prefix=k&start=k03&end=k05", "").want(200, `{"items":[
		{"key":"k03","value":"`+b64("3")+`","version":"<any>"},{"key":"k04","value":"`+b64("4")+`","version":"<any>"}]}`).position()
	f.do("GET", "/kv?prefix=k&limit=2&reverse=true&keys_only=true", "").want(200, `{"items":[{"key":"k24","version":"<any>"},{"key":"k23","version":"<any>"}],"cursor":"<any>"}`)
	f.do("GET", "/kv?prefix=none", "").want(200, `{"items":[]}`)

	forward := f.listAll("/kv?prefix=k&limit=4", "items", "key", "key_base64")
	backward := f.listAll("/kv?prefix=k&limit=4&reverse=true", "items", "key", "key_base64")
	if len(forward) != 25 || forward[0] != "k00" || forward[24] != "k24" {
		t.Errorf("pages forward: %v", forward)
	}
	if len(backward) != 25 || backward[0] != "k24" || backward[24] != "k00" {
		t.Errorf("pages backward: %v", backward)
	}
}

func TestListLimits(t *testing.T) {
	f := newFixture(t)
	var items []string
	for i := range 1100 {
		items = append(items, fmt.Sprintf(`{"key":"k%04d","value":""}`, i))
	}
	f.do("POST", "/kv/batch", `{"operation":"put","items":[`+strings.Join(items, ",")+`]}`).want(200, `{"success":true,"count":1100}`)
	for query, want := range map[string]int{"": 100, "?limit=5": 5, "?limit=1000": 1000, "?limit=99999": 1000} {
		if got := strings.Count(string(f.do("GET", "/kv"+query, "").body), `"key":`); got != want {
			t.Errorf("/kv%s: %d items, want %d", query, got, want)
		}
	}
	for _, limit := range []string{"0", "-1", "x", "1.5", ""} {
		f.do("GET", "/kv?limit="+limit, "").refused(400, httpapi.CodeBadRequest)
	}
	large := bytes.Repeat([]byte("v"), 1<<20)
	for i := range 6 {
		f.send("PUT", fmt.Sprintf("/kv/large%d", i), bytes.NewReader(large), octets).want(200, ok)
	}
	if a := f.do("GET", "/kv?prefix=large", ""); len(a.body) > 6<<20 || a.field("cursor") == "" {
		t.Errorf("a page has %d bytes, cursor %q", len(a.body), a.field("cursor"))
	}
	if keys := f.listAll("/kv?prefix=large", "items", "key", "key_base64"); len(keys) != 6 {
		t.Errorf("pages of large values: %v", keys)
	}
}

func TestACursorIsBoundToItsQuery(t *testing.T) {
	f := newFixture(t)
	f.do("POST", "/kv/batch", `{"operation":"put","items":[{"key":"a1","value":""},{"key":"a2","value":""},{"key":"a3","value":""}]}`)
	cursor := f.do("GET", "/kv?prefix=a&limit=1", "").field("cursor")
	f.do("GET", "/kv?prefix=a&limit=2&cursor="+cursor, "").want(200, `{"items":[{"key":"a2","value":"","version":"<any>"},{"key":"a3","value":"","version":"<any>"}]}`)
	for _, path := range []string{
		"/kv?cursor=", "/kv?prefix=b&cursor=", "/kv?prefix=a&reverse=true&cursor=", "/kv?prefix=a&keys_only=true&cursor=",
		"/kv?prefix=a&start=a&cursor=", "/kv?prefix=a&end=b&cursor=", "/row?prefix=a&cursor=", "/lob?prefix=a&cursor=", "!/api/v1/other/kv?prefix=a&cursor=",
	} {
		f.do("GET", path+cursor, "").refused(400, httpapi.CodeInvalidCursor)
	}
	for _, bad := range []string{"x", "****", "AAAA", cursor[:len(cursor)-2], cursor + "AA", "AQ"} {
		f.do("GET", "/kv?prefix=a&cursor="+bad, "").refused(400, httpapi.CodeInvalidCursor)
	}
}

func TestConditions(t *testing.T) {
	f := newFixture(t)
	match := func(v string) header { return header{"If-Match", v} }
	absent := header{"If-None-Match", "*"}
	for _, m := range []struct{ path, body string }{
		{"/kv/c", putJSON("v")}, {"/row/c", `{"columns":{"x":""}}`}, {"/lob/c", "bytes"},
	} {
		t.Run(m.path, func(t *testing.T) {
			f.do("PUT", m.path, m.body, match("*")).refused(412, httpapi.CodeConditionFailed)
			f.do("DELETE", m.path, "", match("*")).refused(412, httpapi.CodeConditionFailed)
			f.do("PUT", m.path, m.body, match(`"1-1"`)).refused(412, httpapi.CodeConditionFailed)
			if a := f.do("PUT", m.path, m.body, absent); a.status != 200 {
				t.Fatalf("%d %s", a.status, a.body)
			}
			f.do("PUT", m.path, m.body, absent).refused(412, httpapi.CodeConditionFailed)
			first := f.version(m.path)
			if a := f.do("PUT", m.path, m.body, match(`"`+first+`"`)); a.status != 200 {
				t.Fatalf("%d %s", a.status, a.body)
			}
			f.do("PUT", m.path, m.body, match(`"`+first+`"`)).refused(412, httpapi.CodeConditionFailed)
			f.do("DELETE", m.path, "", match(`"`+first+`"`)).refused(412, httpapi.CodeConditionFailed)
			for _, bad := range []header{match(first), match(`"a", "b"`), match(`W/"` + first + `"`), match(`""`), {"If-None-Match", `"x"`}} {
				f.do("PUT", m.path, m.body, bad).refused(400, httpapi.CodeBadRequest)
			}
			f.do("PUT", m.path, m.body, match("*"), absent).refused(400, httpapi.CodeBadRequest)
			f.do("DELETE", m.path, "", match(`"`+f.version(m.path)+`"`)).want(200, ok)
			f.do("DELETE", m.path, "", match("*")).refused(412, httpapi.CodeConditionFailed)
		})
	}
}

// version is that of a key, row or object.
func (f *fixture) version(path string) string {
	f.t.Helper()
	switch {
	case strings.HasPrefix(path, "/row"):
		return f.do("GET", path, "").field("version")
	case strings.HasPrefix(path, "/kv"):
		path += "?raw=true"
	}
	return strings.Trim(f.do("GET", path, "").header.Get("ETag"), `"`)
}

func TestTimeToLive(t *testing.T) {
	f := newFixture(t)
	f.do("PUT", "/kv/t?ttl=30s", putJSON("v")).want(200, ok)
	a := f.do("GET", "/kv/t", "").want(200, `{"value":"<any>","found":true,"version":"<any>","expires_at":"<any>"}`)
	if at, err := time.Parse(time.RFC3339Nano, a.field("expires_at")); err != nil || time.Until(at) > 31*time.Second || time.Until(at) < 0 {
		t.Errorf("expires at %v (%v), in %v", at, err, time.Until(at))
	}
	if a := f.do("GET", "/kv/t?raw=true", ""); a.header.Get(httpapi.HeaderExpiresAt) == "" {
		t.Error("a raw answer doesn't say when it expires")
	}
	f.clock.Add(int64(31 * time.Second))
	f.do("GET", "/kv/t", "").want(200, `{"value":"","found":false}`)
	f.do("GET", "/kv", "").want(200, `{"items":[]}`)
	f.do("POST", "/kv/t/touch?ttl=30s", "").refused(404, httpapi.CodeKeyNotFound)

	f.do("PUT", "/kv/t?ttl=30s", putJSON("v")).want(200, ok)
	f.do("POST", "/kv/t/touch?ttl=1h", "").want(200, ok).position()
	f.clock.Add(int64(31 * time.Second))
	f.do("GET", "/kv/t", "").want(200, `{"value":"<any>","found":true,"version":"<any>","expires_at":"<any>"}`)
	f.do("PUT", "/kv/t", putJSON("for good")).want(200, ok)
	f.do("GET", "/kv/t", "").want(200, `{"value":"<any>","found":true,"version":"<any>"}`)
	f.do("POST", "/kv/t/touch?ttl=1h", "").want(200, ok)
	f.do("POST", "/kv/t/touch?ttl=0s", "").want(200, ok)
	f.do("GET", "/kv/t", "").want(200, `{"value":"`+b64("for good")+`","found":true,"version":"<any>"}`)

	for _, ttl := range []string{"", "30", "-1s", "0s", "soon"} {
		f.do("PUT", "/kv/t?ttl="+ttl, putJSON("v")).refused(400, httpapi.CodeBadRequest)
	}
	for _, query := range []string{"", "?ttl=", "?ttl=30", "?ttl=-1s"} {
		f.do("POST", "/kv/t/touch"+query, "").refused(400, httpapi.CodeBadRequest)
	}
}

func TestValueLimits(t *testing.T) {
	f := newFixture(t)
	mib := strings.Repeat("v", 1<<20)
	f.do("PUT", "/kv/json", putJSON(mib)).want(200, ok)
	if a := f.do("GET", "/kv/json?raw=1", ""); string(a.body) != mib {
		t.Errorf("%d bytes came back", len(a.body))
	}
	f.do("PUT", "/kv/over", putJSON(mib+"v")).refused(413, httpapi.CodeTooLarge)
	f.do("PUT", "/row/over", `{"columns":{"c":"`+b64(mib+"v")+`"}}`).refused(413, httpapi.CodeTooLarge)
	f.do("POST", "/kv/batch", `{"operation":"put","items":[{"key":"over","value":"`+b64(mib+"v")+`"}]}`).refused(413, httpapi.CodeTooLarge)
	f.do("PUT", "/kv/raw", strings.Repeat(mib, 8), octets).want(200, ok)
	f.do("PUT", "/kv/over", strings.Repeat(mib, 8)+"v", octets).refused(413, httpapi.CodeTooLarge)
	// Without a Content-Length nobody knows before the last byte.
	f.send("PUT", "/kv/over", onlyReader{strings.NewReader(strings.Repeat(mib, 8) + "v")}, octets).refused(413, httpapi.CodeTooLarge)
	f.send("PUT", "/kv/chunked", onlyReader{strings.NewReader(strings.Repeat(mib, 8))}, octets).want(200, ok)
	f.send("PUT", "/kv/over", onlyReader{strings.NewReader(putJSON(mib + mib))}).refused(413, httpapi.CodeTooLarge)

	var items []string
	for i := range 33 {
		items = append(items, fmt.Sprintf(`{"key":"b%d","value":"%s"}`, i, b64(mib)))
	}
	f.do("POST", "/kv/batch", `{"operation":"put","items":[`+strings.Join(items[:31], ",")+`]}`).want(200, `{"success":true,"count":31}`)
	f.do("POST", "/kv/batch", `{"operation":"put","items":[`+strings.Join(items, ",")+`]}`).refused(413, httpapi.CodeTooLarge)
	f.do("POST", "/kv/batch", `{"operation":"get","keys":["raw","raw","raw","raw","raw"]}`).refused(413, httpapi.CodeTooLarge)
	f.do("GET", "/kv/over", "").want(200, `{"value":"","found":false}`)
	f.do("GET", "/kv/b32", "").want(200, `{"value":"","found":false}`)
}

// onlyReader hides a reader's length, so that the body is sent in chunks.
type onlyReader struct{ r *strings.Reader }

func (r onlyReader) Read(p []byte) (int, error) { return r.r.Read(p) }

func TestLargeBodiesShareTheirMemory(t *testing.T) {
	f := newFixture(t, func(o *fixtureOptions) { o.memory = 1 }) // the least: one body of the largest size
	f.api.SetMemoryPatience(10 * time.Minute)                    // the last one waits for as long as the disk takes for all others
	value := strings.Repeat("v", 8<<20)
	const writers = 6
	done := make(chan int, writers)
	for i := range writers {
		go func() {
			req, err := http.NewRequestWithContext(t.Context(), "PUT", fmt.Sprintf("%s/api/v1/default/kv/%d", f.url, i), strings.NewReader(value))
			if err != nil {
				done <- 0
				return
			}
			req.Header.Set("Content-Type", "application/octet-stream")
			res, err := f.client.Do(req)
			if err != nil {
				t.Error(err)
				done <- 0
				return
			}
			_ = res.Body.Close()
			done <- res.StatusCode
		}()
	}
	for range writers {
		if status := <-done; status != 200 {
			t.Errorf("a write that had to wait for memory answered %d", status)
		}
	}
}
