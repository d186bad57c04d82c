package command

import (
	"net/http"
	"testing"
)

func TestLobStat(t *testing.T) {
	h := newHarness(t, answerBytes(http.StatusOK, "", "ETag", `"1-9"`, "X-Unisondb-Checksum", helloSum, "Content-Length", "5"))
	h.run("lob", "stat", "o").want(t, exitDone, ""+
		"Key:       o\n"+
		"Size:      5 (5 B)\n"+
		"CRC-32:    3610a686\n"+
		"Version:   1-9\n"+
		"Expires:   never\n"+
		"Position:  "+testPosition+"\n")
	h.last().want(t, "HEAD", "/api/v1/default/lob/o")
	h.run("lob", "stat", "o", "-json").wantJSON(t, exitDone, `{"key":"o","size":5,"version":"1-9","checksum":907060870,"position":"`+testPosition+`"}`)
}

func TestLobStatAbsent(t *testing.T) {
	newHarness(t, noObject).run("lob", "stat", "o").want(t, exitFailed, "", `there is no object "o"`)
	newHarness(t, answer(http.StatusNotFound, `{"error":"no namespace","code":"NAMESPACE_NOT_FOUND"}`)).
		run("lob", "stat", "o").want(t, exitFailed, "", "NAMESPACE_NOT_FOUND")
}
