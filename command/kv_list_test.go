package command

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

var kvPages = []http.HandlerFunc{
	answer(http.StatusOK, `{"items":[{"key":"a","value":"b25l","version":"1-1"},{"key":"b c","value":"","version":"1-2","expires_at":"2030-01-01T00:00:00Z"}],"cursor":"c1"}`),
	answer(http.StatusOK, `{"items":[{"key_base64":"/wA=","value":"GwA=","version":"1-3"}]}`),
}

func TestKVList(t *testing.T) {
	h := newHarness(t, kvPages...)
	h.run("kv", "list", "-prefix=p").want(t, exitDone, ""+
		"KEY         VALUE\n"+
		"a           one\n"+
		"b c         \"\"\n"+
		`"\xff\x00"  "\x1b\x00"`+"\n")
	h.last().want(t, "GET", "/api/v1/default/kv?cursor=c1&limit=1000&prefix=p")
}

func TestKVListJSON(t *testing.T) {
	newHarness(t, kvPages...).run("kv", "list", "-json").wantJSON(t, exitDone, `[
		{"key":"a","value":"b25l","version":"1-1"},
		{"key":"b c","value":"","version":"1-2","expires_at":"2030-01-01T00:00:00Z"},
		{"key_base64":"/wA=","value":"GwA=","version":"1-3"}]`)
	newHarness(t, answer(http.StatusOK, `{"items":[]}`)).run("kv", "list", "-json").want(t, exitDone, "[]\n")
}

func TestKVListKeysOnly(t *testing.T) {
	page := answer(http.StatusOK, `{"items":[{"key":"a","version":"1-1"},{"key":"\"q\"","version":"1-2"},{"key":" pad","version":"1-3"}]}`)
	h := newHarness(t, page)
	h.run("kv", "list", "-keys-only", "-limit=3").want(t, exitDone, "a\n\"\\\"q\\\"\"\n\" pad\"\n")
	h.last().want(t, "GET", "/api/v1/default/kv?keys_only=true&limit=3")
	h.run("kv", "list", "-keys-only", "-json", "-limit=1").wantJSON(t, exitDone, `[{"key":"a","version":"1-1"}]`)
}

func TestKVListBounds(t *testing.T) {
	h := newHarness(t, answer(http.StatusOK, `{"items":[]}`))
	h.run("kv", "list", "-start=a", "-end=b", "-reverse", "-at-least="+testPosition).want(t, exitDone, "KEY  VALUE\n")
	h.last().want(t, "GET", "/api/v1/default/kv?end=b&limit=1000&reverse=true&start=a")
	h.run("kv", "list", "-key-base64", "-prefix=/w==").want(t, exitDone, "KEY  VALUE\n")
	h.last().want(t, "GET", "/api/v1/default/kv?limit=1000&prefix=%FF")
	h.run("kv", "list", "-key-base64", "-end=x").want(t, exitUsage, "", "no key in base64")
	h.run("kv", "list", "-limit=-1").want(t, exitUsage, "", "is negative")
}

// TestKVListFailsInTheMiddle: what has come is printed, the JSON isn't closed, and
// the status tells.
func TestKVListFailsInTheMiddle(t *testing.T) {
	pages := []http.HandlerFunc{kvPages[0], answer(http.StatusServiceUnavailable, `{"error":"stopping","code":"SHUTTING_DOWN"}`)}
	got := newHarness(t, pages...).run("kv", "list", "-json", "-keys-only")
	if got.status != exitFailed || !strings.HasPrefix(got.stdout, "[\n") || strings.Contains(got.stdout, "]") {
		t.Errorf("status %d, stdout %s", got.status, got.stdout)
	}
	newHarness(t, pages...).run("kv", "list", "-keys-only").want(t, exitFailed, "a\nb c\n", "stopping (SHUTTING_DOWN)")
}

// TestKVListIsLong goes over more lines than are aligned together.
func TestKVListIsLong(t *testing.T) {
	var items []string
	for i := range 2*tableBatch + 10 {
		items = append(items, fmt.Sprintf(`{"key":"k%d","value":"dg=="}`, i))
	}
	h := newHarness(t, answer(http.StatusOK, `{"items":[`+strings.Join(items, ",")+`]}`))
	got := h.run("kv", "list")
	if n := strings.Count(got.stdout, "\n"); n != len(items)+1 || got.status != exitDone {
		t.Errorf("%d lines, want %d and the head", n, len(items))
	}
}

func TestKVListCutsLongValues(t *testing.T) {
	h := newHarness(t, answer(http.StatusOK, `{"items":[{"key":"k","value":"`+strings.Repeat("AAAA", 1000)+`"}]}`))
	got := h.run("kv", "list")
	if len(got.stdout) > 1000 || !strings.HasSuffix(got.stdout, "… (2.9 KiB)\n") {
		t.Errorf("got %s", got.stdout)
	}
}
