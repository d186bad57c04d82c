package command

import (
	"net/http"
	"strings"
	"testing"
)

var stored = answer(http.StatusOK, `{"success":true,"size":5,"checksum":907060870,"version":"1-9"}`) // "hello"

func TestLobPut(t *testing.T) {
	h := newHarness(t, stored)
	h.run("lob", "put", "o/1", file(t, "hello")).want(t, exitDone, "", `Wrote "o/1", 5 B, CRC-32 3610a686, at position `+testPosition)
	h.run("lob", "put", "o/1", "@"+file(t, "hello")).want(t, exitDone, "", `Wrote "o/1", 5 B, CRC-32 3610a686, at position `+testPosition)
	r := h.last()
	r.want(t, "PUT", "/api/v1/default/lob/o%2F1")
	if r.body != "hello" || r.header.Get("Content-Length") != "5" {
		t.Errorf("sent %q, length %q", r.body, r.header.Get("Content-Length"))
	}

	h.stdin = "hello"
	h.run("lob", "put", "-json", "-ttl=1h", "-if-absent", "o", "-").wantJSON(t, exitDone,
		`{"key":"o","success":true,"size":5,"checksum":907060870,"version":"1-9","position":"`+testPosition+`"}`)
	r = h.last()
	r.want(t, "PUT", "/api/v1/default/lob/o?ttl=1h0m0s")
	if r.body != "hello" || r.header.Get("Content-Length") != "" || r.header.Get("If-None-Match") != "*" {
		t.Errorf("sent %q with %v", r.body, r.header)
	}
}

func TestLobPutShowsProgressOnATerminal(t *testing.T) {
	h := newHarness(t, stored)
	h.width = 60
	got := h.run("lob", "put", "o", file(t, "hello"))
	got.want(t, exitDone, "", "\r[", "100% of        5 B", "\n")
}

func TestLobPutRefuses(t *testing.T) {
	h := newHarness(t, answer(http.StatusOK, `{"success":true,"size":5,"checksum":1}`))
	h.run("lob", "put", "o", "/does/not/exist").want(t, exitFailed, "", "no such file")
	dir := t.TempDir()
	h.run("lob", "put", "o", dir).want(t, exitFailed, "", "is a directory: pack it first")
	if n := h.requestCount(); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
	got := h.run("lob", "put", "o", file(t, "hello"))
	got.want(t, exitFailed, "", "checksum mismatch")
	if strings.Contains(got.stderr, "unknown: read") {
		t.Errorf("the outcome is known: %s", got.stderr)
	}
}
