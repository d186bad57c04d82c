package command

import (
	"bytes"
	"net/http"
	"os"
	"testing"
)

func TestKVPut(t *testing.T) {
	tests := []struct {
		name  string
		args  []string
		stdin string
		uri   string
		body  string
	}{
		{"argument", []string{"k", "hello"}, "", "/api/v1/default/kv/k", "hello"},
		{"nothing", []string{"k", ""}, "", "/api/v1/default/kv/k", ""},
		{"standard input", []string{"k", "-"}, "in\x00", "/api/v1/default/kv/k", "in\x00"},
		{"file", []string{"k", "@" + file(t, "f\xff")}, "", "/api/v1/default/kv/k", "f\xff"},
		{"literal dash", []string{"-literal", "k", "-"}, "no", "/api/v1/default/kv/k", "-"},
		{"literal at", []string{"k", "@f", "-literal"}, "", "/api/v1/default/kv/k", "@f"},
		{"ttl and acks", []string{"-ttl=90s", "-acks", "2", "-wait=1s", "k", "v"}, "", "/api/v1/default/kv/k?acks=2&ttl=1m30s&wait=1s", "v"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHarness(t, success)
			h.stdin = tt.stdin
			h.run(append([]string{"kv", "put"}, tt.args...)...).want(t, exitDone, "", `Wrote "k" at position `+testPosition+".")
			r := h.last()
			r.want(t, "PUT", tt.uri)
			if r.body != tt.body || r.header.Get("Content-Type") != "application/octet-stream" {
				t.Errorf("sent %q as %s", r.body, r.header.Get("Content-Type"))
			}
		})
	}
}

func TestKVPutJSON(t *testing.T) {
	h := newHarness(t, success)
	h.run("kv", "put", "-json", "k", "v").wantJSON(t, exitDone, `{"key":"k","success":true,"position":"`+testPosition+`"}`)
}

func TestKVPutConditions(t *testing.T) {
	h := newHarness(t, success)
	for flag, header := range map[string][2]string{
		"-if-absent": {"If-None-Match", "*"}, "-if-exists": {"If-Match", "*"}, "-if-version=1-2": {"If-Match", `"1-2"`},
	} {
		h.run("kv", "put", flag, "k", "v").want(t, exitDone, "", "Wrote")
		if got := h.last().header.Get(header[0]); got != header[1] {
			t.Errorf("%s sent %s: %q", flag, header[0], got)
		}
	}
	h.run("kv", "put", "-if-absent", "-if-exists", "k", "v").want(t, exitUsage, "", "exclude each other")
	h.run("kv", "put", "-ttl=-1s", "k", "v").want(t, exitUsage, "", "in the past")

	failed := newHarness(t, answer(http.StatusPreconditionFailed, `{"error":"it exists","code":"CONDITION_FAILED"}`))
	failed.run("kv", "put", "-if-absent", "k", "v").want(t, exitFailed, "", "it exists (CONDITION_FAILED)")
}

func TestKVPutBadValues(t *testing.T) {
	h := newHarness(t, success)
	h.run("kv", "put", "k", "@/does/not/exist").want(t, exitFailed, "", "open /does/not/exist: no such file or directory")
	h.run("kv", "put", "k", "@"+t.TempDir()).want(t, exitFailed, "", "is a directory")

	large := file(t, "")
	if err := os.WriteFile(large, bytes.Repeat([]byte{1}, maxValue+1), 0o600); err != nil {
		t.Fatal(err)
	}
	h.run("kv", "put", "k", "@"+large).want(t, exitFailed, "", "more than 8.0 MiB", "unisondb lob put")
	if n := h.requestCount(); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
	if err := os.Truncate(large, maxValue); err != nil {
		t.Fatal(err)
	}
	h.run("kv", "put", "k", "@"+large).want(t, exitDone, "", "Wrote")
	if got := len(h.last().body); got != maxValue {
		t.Errorf("%d bytes arrived, want %d", got, maxValue)
	}
}
