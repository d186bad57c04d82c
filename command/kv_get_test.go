package command

import (
	"net/http"
	"testing"
)

func TestKVGet(t *testing.T) {
	h := newHarness(t, answerBytes(http.StatusOK, "v\x00\xff", "ETag", `"1-2"`, "X-Unisondb-Expires-At", "2030-01-01T00:00:00Z"))
	h.run("kv", "get", "a/b").want(t, exitDone, "v\x00\xff")
	h.last().want(t, "GET", "/api/v1/default/kv/a%2Fb")

	h.run("kv", "get", "k", "-json").wantJSON(t, exitDone,
		`{"key":"k","value":"dgD/","version":"1-2","expires_at":"2030-01-01T00:00:00Z","position":"`+testPosition+`"}`)
	h.run("kv", "get", "-key-base64", "/wA=", "-json").wantJSON(t, exitDone,
		`{"key_base64":"/wA=","value":"dgD/","version":"1-2","expires_at":"2030-01-01T00:00:00Z","position":"`+testPosition+`"}`)
	h.last().want(t, "GET", "/api/v1/default/kv/%FF%00")

	h.run("kv", "get", "--", "-k").want(t, exitDone, "v\x00\xff")
	h.last().want(t, "GET", "/api/v1/default/kv/-k")
}

func TestKVGetEndsTheLineOnATerminal(t *testing.T) {
	h := newHarness(t, answerBytes(http.StatusOK, "v"), answerBytes(http.StatusOK, "v\n"))
	h.width = 80
	h.run("kv", "get", "k").want(t, exitDone, "v\n")
	h.run("kv", "get", "k").want(t, exitDone, "v\n")
}

func TestKVGetAbsent(t *testing.T) {
	h := newHarness(t, noKey)
	h.run("kv", "get", "k").want(t, exitFailed, "", `there is no key "k" in namespace "default"`)
	h.run("kv", "get", "k", "-json").want(t, exitFailed, "", `there is no key "k"`)
}

func TestKVGetAtLeast(t *testing.T) {
	h := newHarness(t, answerBytes(http.StatusOK, "v"))
	h.run("kv", "get", "-at-least="+testPosition, "-wait=2s", "k").want(t, exitDone, "v")
	r := h.last()
	r.want(t, "GET", "/api/v1/default/kv/k?wait=2s")
	if got := r.header.Get("X-Unisondb-At-Least"); got != testPosition {
		t.Errorf("asked for at least %q", got)
	}
	h.run("kv", "get", "-at-least=7", "k").want(t, exitUsage, "", "-at-least=7 is no position")
}

func TestKVGetRefusesBadKeys(t *testing.T) {
	h := newHarness(t, success)
	h.run("kv", "get", "").want(t, exitUsage, "", "the key is empty")
	h.run("kv", "get", "-key-base64", "_w==").want(t, exitUsage, "", "no key in base64")
	h.run("kv", "get", "-key-base64", "").want(t, exitUsage, "", "no key in base64")
	if n := h.requestCount(); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}
