package httpapi_test

import (
	"fmt"
	"testing"

	"github.com/unisondb/unisondb/server/httpapi"
)

func TestRows(t *testing.T) {
	f := newFixture(t)
	f.do("GET", "/row/r", "").want(200, `{"columns":{},"found":false}`).position()
	f.do("PUT", "/row/r", `{"columns":{"a":"`+b64("1")+`","b":"`+b64("2")+`"}}`).want(200, ok).position()
	f.do("PUT", "/row/r", `{"columns":{"b":"`+b64("two")+`","c":""}}`).want(200, ok)
	f.do("GET", "/row/r", "").want(200, `{"rowKey":"r","columns":{"a":"`+b64("1")+`","b":"`+b64("two")+`","c":""},"found":true,"version":"<any>"}`)
	f.do("GET", "/row/r?columns=a,none", "").want(200, `{"rowKey":"r","columns":{"a":"`+b64("1")+`"},"found":true,"version":"<any>"}`)
	f.do("GET", "/row/r?columns=none", "").want(200, `{"rowKey":"r","columns":{},"found":true,"version":"<any>"}`)

	f.do("DELETE", "/row/r/columns", `{"columns":{"a":""}}`).want(200, ok).position()
	f.do("DELETE", "/row/r/columns?columns=b,none", "").want(200, ok)
	f.do("GET", "/row/r", "").want(200, `{"rowKey":"r","columns":{"c":""},"found":true,"version":"<any>"}`)
	f.do("PUT", "/row/r", `{"columns":{"x,y":"`+b64("comma")+`"}}`).want(200, ok)
	f.do("GET", "/row/r?column=x,y", "").want(200, `{"rowKey":"r","columns":{"x,y":"`+b64("comma")+`"},"found":true,"version":"<any>"}`)
	f.do("DELETE", "/row/r/columns?column=x,y&column=c", "").want(200, ok)
	f.do("GET", "/row/r", "").want(200, `{"columns":{},"found":false}`)

	f.do("PUT", "/row/r", `{"columns":{"a":""}}`).want(200, ok)
	f.do("DELETE", "/row/r", "").want(200, ok).position()
	f.do("DELETE", "/row/r", "").want(200, ok)
	f.do("GET", "/row/r", "").want(200, `{"columns":{},"found":false}`)
}

func TestRowVersionChangesWithEveryWrite(t *testing.T) {
	f := newFixture(t)
	f.do("PUT", "/row/r", `{"columns":{"a":"","b":""}}`)
	seen := map[string]bool{f.version("/row/r"): true}
	for i, w := range []func() answer{
		func() answer { return f.do("PUT", "/row/r", `{"columns":{"a":"MQ=="}}`) },
		func() answer { return f.do("PUT", "/row/r", `{"columns":{"c":""}}`) },
		func() answer { return f.do("DELETE", "/row/r/columns?columns=a", "") },
		func() answer { return f.do("DELETE", "/row/r/columns?columns=c", "") },
	} {
		w().want(200, ok)
		v := f.version("/row/r")
		if seen[v] {
			t.Errorf("write %d left the version %q that the row had before", i, v)
		}
		seen[v] = true
		if other := f.do("GET", "/row/r?columns=b", "").field("version"); other != v {
			t.Errorf("the version depends on the columns asked for: %q and %q", other, v)
		}
	}
}

func TestRowBatchAndList(t *testing.T) {
	f := newFixture(t)
	f.do("POST", "/row/batch", `{"operation":"put","rows":[{"rowKey":"a","columns":{"x":"MQ==","y":"Mg=="}},{"row_key_base64":"/w==","columns":{"x":"Mw=="}},{"rowKey":"b","columns":{"y":""}}]}`).
		want(200, `{"success":true,"count":3}`).position()
	f.do("GET", "/row", "").want(200, `{"rows":[
		{"rowKey":"a","columns":{"x":"MQ==","y":"Mg=="},"version":"<any>"},
		{"rowKey":"b","columns":{"y":""},"version":"<any>"},
		{"row_key_base64":"/w==","columns":{"x":"Mw=="},"version":"<any>"}]}`).position()
	f.do("GET", "/row?columns=x&limit=1", "").want(200, `{"rows":[{"rowKey":"a","columns":{"x":"MQ=="},"version":"<any>"}],"cursor":"<any>"}`)
	f.do("GET", "/row?columns=x&start=a&end=%FF", "").want(200, `{"rows":[{"rowKey":"a","columns":{"x":"MQ=="},"version":"<any>"}]}`)
	f.do("GET", "/row?prefix=%FF", "").want(200, `{"rows":[{"row_key_base64":"/w==","columns":{"x":"Mw=="},"version":"<any>"}]}`)
	if keys := f.listAll("/row?limit=1&reverse=true", "rows", "rowKey", "row_key_base64"); fmt.Sprint(keys) != fmt.Sprint([]string{"\xff", "b", "a"}) {
		t.Errorf("backward: %q", keys)
	}
	cursor := f.do("GET", "/row?columns=x&limit=1", "").field("cursor")
	f.do("GET", "/row?columns=y&limit=1&cursor="+cursor, "").refused(400, httpapi.CodeInvalidCursor)
	f.do("POST", "/row/batch", `{"operation":"delete","rows":[{"rowKey":"a"},{"row_key_base64":"/w=="}]}`).want(200, `{"success":true,"count":2}`)
	f.do("GET", "/row", "").want(200, `{"rows":[{"rowKey":"b","columns":{"y":""},"version":"<any>"}]}`)
}
