package command

import "testing"

func TestKVDelete(t *testing.T) {
	h := newHarness(t, success)
	h.run("kv", "delete", "k", "-if-version=1-2").want(t, exitDone, "", `Deleted "k" at position `+testPosition)
	r := h.last()
	r.want(t, "DELETE", "/api/v1/default/kv/k")
	if got := r.header.Get("If-Match"); got != `"1-2"` {
		t.Errorf("If-Match: %q", got)
	}
	h.run("kv", "delete", "-json", "-key-base64", "/w==").wantJSON(t, exitDone, `{"key_base64":"/w==","success":true,"position":"`+testPosition+`"}`)
	h.last().want(t, "DELETE", "/api/v1/default/kv/%FF")
}
