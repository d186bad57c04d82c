package command

import "testing"

func TestLobDelete(t *testing.T) {
	h := newHarness(t, success)
	h.run("lob", "delete", "-if-exists", "o").want(t, exitDone, "", `Deleted "o" at position `)
	r := h.last()
	r.want(t, "DELETE", "/api/v1/default/lob/o")
	if got := r.header.Get("If-Match"); got != "*" {
		t.Errorf("If-Match: %q", got)
	}
	h.run("lob", "delete", "o", "-json").wantJSON(t, exitDone, `{"key":"o","success":true,"position":"`+testPosition+`"}`)
}
