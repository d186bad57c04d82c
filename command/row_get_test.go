package command

import (
	"net/http"
	"testing"
)

func TestRowGet(t *testing.T) {
	h := newHarness(t, answer(http.StatusOK, `{"rowKey":"r","columns":{"name":"QWRh","bin":"/wA=","empty":""},"found":true,"version":"1-3"}`))
	h.run("row", "get", "r").want(t, exitDone, ""+
		"COLUMN  VALUE\n"+
		`bin     "\xff\x00"`+"\n"+
		`empty   ""`+"\n"+
		"name    Ada\n")
	h.last().want(t, "GET", "/api/v1/default/row/r")
	h.run("row", "get", "-column=name", "-column", "bin", "r", "-json").wantJSON(t, exitDone,
		`{"rowKey":"r","columns":{"name":"QWRh","bin":"/wA=","empty":""},"version":"1-3","position":"`+testPosition+`"}`)
	h.last().want(t, "GET", "/api/v1/default/row/r?columns=name%2Cbin")
	h.run("row", "get", "-raw=bin", "r").want(t, exitDone, "\xff\x00")
	h.last().want(t, "GET", "/api/v1/default/row/r?columns=bin")
	h.run("row", "get", "-raw=other", "r").want(t, exitFailed, "", `has no column "other"`)
	h.run("row", "get", "-raw=bin", "-json", "r").want(t, exitUsage, "", "-raw prints one column")
}

func TestRowGetAbsent(t *testing.T) {
	h := newHarness(t, answer(http.StatusOK, `{"columns":{},"found":false}`))
	h.run("row", "get", "r").want(t, exitFailed, "", `there is no row "r" in namespace "default"`)
}
