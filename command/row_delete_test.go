package command

import "testing"

func TestRowDelete(t *testing.T) {
	h := newHarness(t, success)
	h.run("row", "delete", "r").want(t, exitDone, "", `Deleted "r" at position `)
	h.last().want(t, "DELETE", "/api/v1/default/row/r")
	h.run("row", "delete", "-column=a", "r", "-column=b", "-json").wantJSON(t, exitDone, `{"key":"r","success":true,"position":"`+testPosition+`"}`)
	h.last().want(t, "DELETE", "/api/v1/default/row/r/columns?column=a&column=b")
}
