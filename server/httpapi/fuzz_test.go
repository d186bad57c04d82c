package httpapi

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/unisondb/unisondb/dbkernel"
)

// FuzzResolve: whatever the path, the router answers an endpoint or an error of
// the client's, and a key comes back as the bytes that were escaped.
func FuzzResolve(f *testing.F) {
	for _, seed := range []string{
		"/api/v1/default/kv/a", "/api/v1/default/kv/a%2Fb//%00%FF", "/api/v1/default/row/x/columns", "/api/v1/default/tx/begin", "/health",
		"/api/v1/%zz/kv/a", "/api/v1//kv/", "/api/v1/default/kv/batch", "/api/v1/default/kv/%", "//", "",
		"/api/v1/default/model/vector/search", "/api/v1/default/model/%2F/%zz", "/v1/plugins/a%2Fb/dead-letters/retry", "/v1/plugins//reload",
	} {
		f.Add("GET", seed)
		f.Add("POST", seed)
	}
	a := New(Options{})
	f.Fuzz(func(t *testing.T, method, path string) {
		ep, p, err := a.resolve(method, path)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Status < 400 || e.Status >= 500 {
				t.Fatalf("%q: %v", path, err)
			}
			return
		}
		if ep == nil || !ep.system && strings.Contains(p.namespace, "%") && !strings.Contains(path, "%25") {
			t.Fatalf("%q: endpoint %v, namespace %q", path, ep, p.namespace)
		}
		if ep == epModel && (p.model == "" || p.modelMethod == "") || ep == epPlugin && p.plugin == "" {
			t.Fatalf("%q: something without a name: %+v", path, p)
		}
		if p.key != nil && (len(p.key) == 0 || len(p.key) > dbkernel.MaxKeyLen) {
			t.Fatalf("%q: key %q", path, p.key)
		}
	})
}

// FuzzKeyInPath: any key, escaped by a client, is found again.
func FuzzKeyInPath(f *testing.F) {
	for _, seed := range []string{"a", "/", "a//b", "..", "%2F", "\x00", "\xff", "batch", "x/touch", "x/columns", "+", " "} {
		f.Add([]byte(seed))
	}
	a := New(Options{})
	f.Fuzz(func(t *testing.T, key []byte) {
		if len(key) == 0 || len(key) > dbkernel.MaxKeyLen {
			return
		}
		for _, model := range []string{"kv", "row", "lob"} {
			for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
				u, err := url.ParseRequestURI("/api/v1/ns/" + model + "/" + url.PathEscape(string(key)))
				if err != nil {
					t.Fatal(err)
				}
				ep, p, err := a.resolve(method, u.EscapedPath())
				if err != nil || ep.name != model || !bytes.Equal(p.key, key) || p.namespace != "ns" {
					t.Fatalf("%s key %q: %v, %q, %v", method, key, ep, p.key, err)
				}
			}
		}
	})
}

// FuzzDecodeJSON: no body makes the decoder panic, and what it takes is what
// was sent: no byte of a key is changed.
func FuzzDecodeJSON(f *testing.F) {
	for _, seed := range []string{
		`{"operation":"put","items":[{"key":"a","value":""}]}`, `{"operation":"get","keys":["\ud83d\ude00","\u0000"]}`, `{"keys":["\ud800"]}`,
		`{"keys":["\\ud800"]}`, "{\"keys\":[\"\xff\"]}", `[]`, `null`, `{} {}`, `{"items":[{"key_base64":"/w=="}]}`, `"\`, `{"keys":["\u"]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var in kvBatchIn
		err := decodeJSON(body, &in)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Status != http.StatusBadRequest {
				t.Fatalf("%q: %v", body, err)
			}
			return
		}
		if !utf8.Valid(body) {
			t.Fatalf("%q was taken", body)
		}
		for _, key := range in.Keys {
			if strings.Contains(key, "\ufffd") && !bytes.Contains(body, []byte("\ufffd")) && !bytes.Contains(bytes.ToLower(body), []byte(`\ufffd`)) {
				t.Fatalf("%q: key %q isn't what was sent", body, key)
			}
		}
		for _, item := range in.Items {
			_, _ = item.decode("item.")
			_, _ = decodeValue("value", item.Value)
		}
	})
}

// FuzzTransactionBody runs the checks of a one-shot transaction, which all come
// before anything is written.
func FuzzTransactionBody(f *testing.F) {
	for _, seed := range []string{
		`{"if":[{"key":"a","exists":true}],"then":[{"op":"put","key":"a","value":""}]}`, `{"then":[{"op":"get","rowKey":"r","columns":{"a":null}}]}`,
		`{"if":[{}]}`, `{"then":[{"op":"put","type":"row","row_key_base64":"/w==","columns":{"a":""},"ttl":"1s"}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var in struct {
			If   []condIn `json:"if"`
			Then []opIn   `json:"then"`
		}
		if decodeJSON(body, &in) != nil {
			return
		}
		_, err1 := prepareAll("if", in.If, (*condIn).prepare)
		_, err2 := prepareAll("then", in.Then, (*opIn).prepare)
		for _, err := range []error{err1, err2} {
			var e *Error
			if err != nil && (!errors.As(err, &e) || e.Status/100 != 4) {
				t.Fatalf("%q: %v", body, err)
			}
		}
	})
}

// FuzzCursor: a cursor opens with its own query and no other, and no text makes
// it panic.
func FuzzCursor(f *testing.F) {
	f.Add("AQ", uint64(1), []byte("key"))
	f.Fuzz(func(t *testing.T, text string, fingerprint uint64, key []byte) {
		if got, err := openCursor(text, fingerprint); err == nil && nextCursor(fingerprint, got) != strings.TrimRight(text, "=") {
			if b, _ := base64.RawURLEncoding.DecodeString(text); !bytes.HasSuffix(b, got) {
				t.Fatalf("%q opened as %q", text, got)
			}
		}
		if len(key) == 0 {
			return
		}
		cursor := nextCursor(fingerprint, key)
		if got, err := openCursor(cursor, fingerprint); err != nil || !bytes.Equal(got, key) {
			t.Fatalf("%q came back as %q, %v", key, got, err)
		}
		if _, err := openCursor(cursor, fingerprint+1); err == nil {
			t.Fatal("a cursor of another query was taken")
		}
	})
}

func TestSurrogatesAreCheckedAsPackageJSONReadsThem(t *testing.T) {
	for s, ok := range map[string]bool{
		`"\ud83d\ude00"`: true, `"\ud83d"`: false, `"\ude00"`: false, `"\ud83dx\ude00"`: false, `"\ude00\ud83d"`: false, `"\ud83d\u0041"`: false,
		`"\\ud83d"`: true, `"\\\ud83d"`: false, `"\\\\ud83d"`: true, `"a\n\ud83d\ude00\t"`: true, `"\uD83D\uDE00\uD83D"`: false, `"\ufffd"`: true,
	} {
		err := checkUnicode([]byte(s))
		if (err == nil) != ok {
			t.Errorf("%s: %v", s, err)
		}
		var got string
		if err := json.Unmarshal([]byte(s), &got); err != nil {
			t.Fatal(err)
		}
		if ok == (strings.Contains(got, "\ufffd") && s != `"\ufffd"`) {
			t.Errorf("%s: package json makes %q of it", s, got)
		}
	}
}
