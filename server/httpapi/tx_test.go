package httpapi_test

import (
	"fmt"
	"hash/crc32"
	"strings"
	"testing"
	"time"

	"github.com/unisondb/unisondb/server/httpapi"
)

// begin opens a transaction and answers its id.
func (f *fixture) begin(body string) string {
	f.t.Helper()
	return f.do("POST", "/tx/begin", body).want(200, `{"txnId":"<any>","success":true}`).field("txnId")
}

func TestAMixedTransaction(t *testing.T) {
	f := newFixture(t)
	f.do("PUT", "/kv/old", putJSON("old"))
	f.do("PUT", "/row/old", `{"columns":{"a":"","b":""}}`)
	f.do("PUT", "/lob/old", "old")
	for _, empty := range []string{"{}", ""} {
		f.do("POST", "/tx/"+f.begin(empty)+"/abort", "").want(200, ok)
	}
	id := f.begin("{}")
	if strings.Trim(id, "0123456789abcdef") != "" {
		t.Errorf("the id %q isn't hexadecimal", id)
	}
	f.do("POST", "/tx/"+id+"/kv", `{"key":"k","value":"`+b64("v")+`"}`).want(200, ok)
	f.do("POST", "/tx/"+id+"/kv", `{"key_base64":"/w==","value":"","ttl":"1h"}`).want(200, ok)
	f.do("POST", "/tx/"+id+"/kv", `{"key":"old","delete":true}`).want(200, ok)
	f.do("POST", "/tx/"+id+"/row", `{"rowKey":"r","columns":{"c":"`+b64("v")+`"}}`).want(200, ok)
	f.do("POST", "/tx/"+id+"/row", `{"rowKey":"old","delete":true,"columns":{"a":""}}`).want(200, ok)
	f.do("POST", "/tx/"+id+"/lob?key=o", "first ").want(200, ok)
	f.do("POST", "/tx/"+id+"/lob?key=o", "second").want(200, ok)
	f.do("POST", "/tx/"+id+"/lob?key=old&delete=true", "").want(200, ok)

	f.do("GET", "/kv/k", "").want(200, `{"value":"","found":false}`)
	f.do("GET", "/kv/old", "").want(200, `{"value":"`+b64("old")+`","found":true,"version":"<any>"}`)
	f.do("GET", "/row/r", "").want(200, `{"columns":{},"found":false}`)
	f.do("GET", "/lob/o", "").refused(404, httpapi.CodeObjectNotFound)
	f.do("GET", "/kv/k?txn="+id, "").want(200, `{"value":"`+b64("v")+`","found":true}`)
	f.do("GET", "/kv/old?txn="+id, "").want(200, `{"value":"","found":false}`)
	f.do("GET", "/row/r?txn="+id, "").want(200, `{"rowKey":"r","columns":{"c":"`+b64("v")+`"},"found":true}`)

	commit := f.do("POST", "/tx/"+id+"/commit", "").want(200, fmt.Sprintf(`{"success":true,"checksum":%d}`, crc32.ChecksumIEEE([]byte("first second"))))
	view := f.do("GET", "/kv/k", "").want(200, `{"value":"`+b64("v")+`","found":true,"version":"<any>"}`)
	if commit.position() != view.position() {
		t.Errorf("committed at %v, read at %v: more than one record", commit.position(), view.position())
	}
	f.do("GET", "/kv/old", "").want(200, `{"value":"","found":false}`)
	f.do("GET", "/kv/%FF", "").want(200, `{"value":"","found":true,"version":"<any>","expires_at":"<any>"}`)
	f.do("GET", "/row/old", "").want(200, `{"rowKey":"old","columns":{"b":""},"found":true,"version":"<any>"}`)
	f.do("GET", "/lob/old", "").refused(404, httpapi.CodeObjectNotFound)
	if a := f.do("GET", "/lob/o", ""); string(a.body) != "first second" {
		t.Errorf("the object is %q", a.body)
	}
}

func TestTypedTransactions(t *testing.T) {
	f := newFixture(t)
	for _, tc := range []struct {
		operation, entryType string
		fits                 func(id string) answer
		wrong                func(id string) answer
	}{
		{"put", "kv", func(id string) answer { return f.do("POST", "/tx/"+id+"/kv", `{"key":"a","value":""}`) },
			func(id string) answer { return f.do("POST", "/tx/"+id+"/kv", `{"key":"a","delete":true}`) }},
		{"delete", "kv", func(id string) answer { return f.do("POST", "/tx/"+id+"/kv", `{"key":"a"}`) },
			func(id string) answer { return f.do("POST", "/tx/"+id+"/kv", `{"key":"a","value":""}`) }},
		{"put", "row", func(id string) answer { return f.do("POST", "/tx/"+id+"/row", `{"rowKey":"a","columns":{"c":""}}`) },
			func(id string) answer { return f.do("POST", "/tx/"+id+"/kv", `{"key":"a","value":""}`) }},
		{"delete", "row", func(id string) answer { return f.do("POST", "/tx/"+id+"/row", `{"rowKey":"a"}`) },
			func(id string) answer { return f.do("POST", "/tx/"+id+"/kv", `{"key":"a"}`) }},
		{"put", "lob", func(id string) answer { return f.do("POST", "/tx/"+id+"/lob?key=a", "x") },
			func(id string) answer { return f.do("POST", "/tx/"+id+"/row", `{"rowKey":"a","columns":{"c":""}}`) }},
		{"delete", "lob", func(id string) answer { return f.do("POST", "/tx/"+id+"/lob?key=a", "") },
			func(id string) answer { return f.do("POST", "/tx/"+id+"/lob?key=a", "bytes") }},
	} {
		t.Run(tc.operation+" "+tc.entryType, func(t *testing.T) {
			id := f.begin(`{"operation":"` + tc.operation + `","entryType":"` + tc.entryType + `"}`)
			tc.wrong(id).refused(400, httpapi.CodeBadRequest)
			tc.fits(id).want(200, ok)
			f.do("POST", "/tx/"+id+"/commit", "{}").want(200, `{"success":true,"checksum":`+fmt.Sprint(map[bool]uint32{true: crc32.ChecksumIEEE([]byte("x"))}[tc.entryType == "lob" && tc.operation == "put"])+`}`)
		})
	}
	for _, bad := range []string{`{"operation":"put"}`, `{"entryType":"kv"}`, `{"operation":"get","entryType":"kv"}`, `{"operation":"put","entryType":"model"}`} {
		f.do("POST", "/tx/begin", bad).refused(400, httpapi.CodeUnknownOperation)
	}
	f.do("POST", "/tx/begin", `{"operations":"put"}`).refused(400, httpapi.CodeInvalidJSON)
}

func TestTransactionConflicts(t *testing.T) {
	f := newFixture(t)
	f.do("PUT", "/kv/a", putJSON("1"))
	f.do("PUT", "/kv/b", putJSON("1"))

	id := f.begin("{}")
	f.do("GET", "/kv/a?txn="+id, "").want(200, `{"value":"<any>","found":true,"version":"<any>"}`).position()
	f.do("PUT", "/kv/a", putJSON("2"))
	f.do("GET", "/kv/b?txn="+id, "").refused(409, httpapi.CodeTxConflict)
	f.do("POST", "/tx/"+id+"/kv", `{"key":"c","value":""}`)
	f.do("POST", "/tx/"+id+"/commit", "").refused(409, httpapi.CodeTxConflict)
	f.do("GET", "/kv/c", "").want(200, `{"value":"","found":false}`)
	f.do("POST", "/tx/"+id+"/commit", "").refused(404, httpapi.CodeTxNotFound)

	// What wasn't there counts as read, too; so does a row.
	id = f.begin("{}")
	f.do("GET", "/kv/new?txn="+id+"&raw=true", "").refused(404, httpapi.CodeKeyNotFound)
	f.do("GET", "/row/new?txn="+id, "").want(200, `{"columns":{},"found":false}`)
	f.do("PUT", "/row/new", `{"columns":{"c":""}}`)
	f.do("POST", "/tx/"+id+"/kv", `{"key":"d","value":""}`)
	f.do("POST", "/tx/"+id+"/commit", "").refused(409, httpapi.CodeTxConflict)

	// Blind writes never conflict.
	id = f.begin("{}")
	f.do("POST", "/tx/"+id+"/kv", `{"key":"a","value":""}`)
	f.do("PUT", "/kv/a", putJSON("3"))
	f.do("POST", "/tx/"+id+"/commit", "").want(200, `{"success":true,"checksum":0}`)
}

func TestTransactionIDs(t *testing.T) {
	f := newFixture(t)
	id := f.begin("{}")
	f.do("POST", "!/api/v1/other/tx/"+id+"/commit", "").refused(404, httpapi.CodeTxNotFound)
	f.do("GET", "!/api/v1/other/kv/a?txn="+id, "").refused(404, httpapi.CodeTxNotFound)
	f.do("POST", "/tx/"+id+"/abort", "").want(200, ok)
	for _, gone := range []string{id, "00", "zz", "0", id + "00", id[:len(id)-2] + "ff", "%00", strings.Repeat("a", 1000)} {
		for _, action := range []string{"commit", "abort"} {
			f.do("POST", "/tx/"+gone+"/"+action, "").refused(404, httpapi.CodeTxNotFound)
		}
		f.do("POST", "/tx/"+gone+"/kv", `{"key":"a","value":""}`).refused(404, httpapi.CodeTxNotFound)
		f.do("GET", "/kv/a?txn="+gone, "").refused(404, httpapi.CodeTxNotFound)
	}
	f.do("GET", "/kv/a?txn=", "").refused(404, httpapi.CodeTxNotFound)

	id = f.begin("{}")
	f.clock.Add(int64(2*time.Minute + time.Second))
	f.do("POST", "/tx/"+id+"/kv", `{"key":"a","value":""}`).refused(410, httpapi.CodeTxExpired)
	f.do("POST", "/tx/"+id+"/commit", "").refused(410, httpapi.CodeTxExpired)
}

func TestAWriteOutsideOfATransactionThatNamesOneIsRefused(t *testing.T) {
	f := newFixture(t)
	id := f.begin("{}")
	for _, a := range []answer{
		f.do("PUT", "/kv/a?txn="+id, putJSON("v")), f.do("DELETE", "/kv/a?txn="+id, ""), f.do("PUT", "/row/a?txn="+id, `{"columns":{"c":""}}`),
		f.do("DELETE", "/row/a?txn="+id, ""), f.do("PUT", "/lob/a?txn="+id, "x"), f.do("DELETE", "/lob/a?txn="+id, ""),
		f.do("GET", "/lob/a?txn="+id, ""), f.do("GET", "/kv?txn="+id, ""), f.do("POST", "/kv/a/touch?ttl=1h&txn="+id, ""),
		f.do("POST", "/kv/batch?txn="+id, `{"operation":"delete","keys":["a"]}`), f.do("POST", "/row/batch?txn="+id, `{"operation":"delete","rows":[{"rowKey":"a"}]}`),
	} {
		a.refused(400, httpapi.CodeBadRequest)
	}
	f.do("GET", "/kv/a", "").want(200, `{"value":"","found":false}`)
}

func TestOneShotTransactions(t *testing.T) {
	f := newFixture(t)
	f.do("POST", "/tx", `{"if":[{"key":"a","exists":false}],
		"then":[{"op":"put","type":"kv","key":"a","value":"`+b64("1")+`"},{"op":"put","type":"row","rowKey":"r","columns":{"x":"MQ==","y":""},"ttl":"1h"},{"op":"get","key":"a"}],
		"else":[{"op":"get","type":"kv","key":"a"}]}`).
		want(200, `{"succeeded":true,"results":[{"success":true},{"success":true},{"key":"a","value":"`+b64("1")+`","found":true}]}`).position()
	again := f.do("POST", "/tx", `{"if":[{"key":"a","exists":false}],"then":[{"op":"delete","key":"a"}],"else":[{"op":"get","key":"a"},{"op":"get","rowKey":"r","columns":{"x":""}},{"op":"get","rowKey":"none"},{"op":"get","key_base64":"/w=="}]}`).
		want(200, `{"succeeded":false,"results":[{"key":"a","value":"`+b64("1")+`","version":"<any>","found":true},
			{"rowKey":"r","columns":{"x":"MQ=="},"found":true,"version":"<any>","expires_at":"<any>"},{"columns":{},"found":false},{"key_base64":"/w==","value":"","found":false}]}`)
	again.position()
	version := f.version("/kv/a")
	f.do("POST", "/tx", `{"if":[{"key":"a","version":"`+version+`"},{"key":"a","value":"`+b64("1")+`"},{"rowKey":"r","exists":true}],"then":[{"op":"put","key":"a","value":"`+b64("2")+`"}]}`).
		want(200, `{"succeeded":true,"results":[{"success":true}]}`)
	for _, cond := range []string{`{"key":"a","version":"` + version + `"}`, `{"key":"a","value":"` + b64("1") + `"}`, `{"key":"none","value":""}`, `{"key":"none","exists":true}`, `{"rowKey":"r","version":"1-1"}`} {
		f.do("POST", "/tx", `{"if":[`+cond+`],"then":[{"op":"delete","key":"a"}]}`).want(200, `{"succeeded":false,"results":[]}`)
	}
	f.do("POST", "/tx", `{"then":[{"op":"delete","rowKey":"r","columns":{"x":null}},{"op":"delete","key":"a"},{"op":"delete","key":"none"}]}`).
		want(200, `{"succeeded":true,"results":[{"success":true},{"success":true},{"success":true}]}`)
	f.do("GET", "/row/r", "").want(200, `{"rowKey":"r","columns":{"y":""},"found":true,"version":"<any>","expires_at":"<any>"}`)
	f.do("POST", "/tx", `{"then":[{"op":"delete","type":"row","rowKey":"r"}]}`).want(200, `{"succeeded":true,"results":[{"success":true}]}`)
	f.do("GET", "/row", "").want(200, `{"rows":[]}`)
}

func TestAFaultyOneShotChangesNothing(t *testing.T) {
	f := newFixture(t)
	put := `{"op":"put","key":"a","value":""}`
	for body, code := range map[string]string{
		`{}`:                    httpapi.CodeEmptyRequest,
		`{"then":[],"else":[]}`: httpapi.CodeEmptyRequest,
		`{"then":[` + put + `,{"op":"incr","key":"a"}]}`:                                          httpapi.CodeUnknownOperation,
		`{"then":[` + put + `,{"op":"put","type":"lob","key":"a","value":""}]}`:                   httpapi.CodeUnknownOperation,
		`{"then":[` + put + `,{"op":"put","type":"row","key":"a","columns":{"c":""}}]}`:           httpapi.CodeInvalidKey,
		`{"then":[` + put + `,{"op":"put","key":"a","rowKey":"a","value":""}]}`:                   httpapi.CodeInvalidKey,
		`{"then":[` + put + `,{"op":"put","key":"a"}]}`:                                           httpapi.CodeBadRequest,
		`{"then":[` + put + `,{"op":"put","key":"a","value":"*"}]}`:                               httpapi.CodeInvalidBase64,
		`{"then":[` + put + `,{"op":"put","rowKey":"a","columns":{}}]}`:                           httpapi.CodeEmptyRequest,
		`{"then":[` + put + `,{"op":"put","rowKey":"a","value":""}]}`:                             httpapi.CodeBadRequest,
		`{"then":[` + put + `,{"op":"put","key":"a","columns":{"c":""},"value":""}]}`:             httpapi.CodeBadRequest,
		`{"then":[` + put + `,{"op":"get","key":"a","value":""}]}`:                                httpapi.CodeBadRequest,
		`{"then":[` + put + `,{"op":"delete","key":"a","ttl":"1h"}]}`:                             httpapi.CodeBadRequest,
		`{"then":[` + put + `,{"op":"put","key":"a","value":"","ttl":"-1h"}]}`:                    httpapi.CodeBadRequest,
		`{"then":[` + put + `,{"op":"put","key":"","value":""}]}`:                                 httpapi.CodeInvalidKey,
		`{"then":[` + put + `],"else":[{"op":"put","key":""}]}`:                                   httpapi.CodeInvalidKey,
		`{"then":[` + put + `],"if":[{"key":"a"}]}`:                                               httpapi.CodeBadRequest,
		`{"then":[` + put + `],"if":[{"key":"a","exists":true,"version":"1"}]}`:                   httpapi.CodeBadRequest,
		`{"then":[` + put + `],"if":[{"key":"a","version":""}]}`:                                  httpapi.CodeBadRequest,
		`{"then":[` + put + `],"if":[{"rowKey":"a","value":""}]}`:                                 httpapi.CodeBadRequest,
		`{"then":[` + put + `],"if":[{"exists":true}]}`:                                           httpapi.CodeInvalidKey,
		`{"then":[` + put + `],"if":[{"key":"a","exists":"yes"}]}`:                                httpapi.CodeInvalidJSON,
		`{"then":[` + put + `],"unless":[]}`:                                                      httpapi.CodeInvalidJSON,
		`{"then":[` + put + `,{"op":"put","key":"` + strings.Repeat("k", 401) + `","value":""}]}`: httpapi.CodeInvalidKey,
	} {
		f.do("POST", "/tx", body).refused(400, code)
	}
	f.do("GET", "/kv", "").want(200, `{"items":[]}`)
}
