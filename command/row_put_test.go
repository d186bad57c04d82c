package command

import (
	"strings"
	"testing"
)

func TestRowPut(t *testing.T) {
	h := newHarness(t, success)
	h.stdin = "from stdin"
	h.run("row", "put", "r/1", "name=Ada", "eq=a=b", "empty=", "in=-", "file=@"+file(t, "\xff"), "-ttl=1h", "-if-absent").
		want(t, exitDone, "", `Wrote "r/1" at position `)
	r := h.last()
	r.want(t, "PUT", "/api/v1/default/row/r%2F1?ttl=1h0m0s")
	sameJSON(t, r.body, `{"columns":{"name":"QWRh","eq":"YT1i","empty":"","in":"ZnJvbSBzdGRpbg==","file":"/w=="}}`)
	if got := r.header.Get("If-None-Match"); got != "*" {
		t.Errorf("If-None-Match: %q", got)
	}

	h.run("row", "put", "-literal", "r", "a=-", "b=@x", "-json").wantJSON(t, exitDone, `{"key":"r","success":true,"position":"`+testPosition+`"}`)
	sameJSON(t, h.last().body, `{"columns":{"a":"LQ==","b":"QHg="}}`)
}

func TestRowPutRefuses(t *testing.T) {
	h := newHarness(t, success)
	h.run("row", "put", "r").want(t, exitUsage, "", "COLUMN=VALUE... is missing")
	h.run("row", "put", "r", "name").want(t, exitUsage, "", `"name" is no column`)
	h.run("row", "put", "r", "=v").want(t, exitUsage, "", `"=v" is no column`)
	h.run("row", "put", "r", "a=1", "a=2").want(t, exitUsage, "", `column "a" is given twice`)
	h.run("row", "put", "r", "a=-", "b=-").want(t, exitUsage, "", "can be read only once")
	h.run("row", "put", "r", "a=@"+file(t, strings.Repeat("x", maxColumnValue+1))).want(t, exitFailed, "", "more than 1.0 MiB")
	if n := h.requestCount(); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}
