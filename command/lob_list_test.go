package command

import (
	"net/http"
	"testing"
)

func TestLobList(t *testing.T) {
	pages := []http.HandlerFunc{
		answer(http.StatusOK, `{"items":[{"key":"a","size":1234,"version":"1-1","checksum":7,"expires_at":"2030-01-01T00:00:00Z"}],"cursor":"c1"}`),
		answer(http.StatusOK, `{"items":[{"key_base64":"/w==","size":0,"version":"1-2"}]}`),
	}
	h := newHarness(t, pages...)
	h.run("lob", "list", "-prefix=p").want(t, exitDone, ""+
		"KEY     BYTES  EXPIRES               VERSION\n"+
		"a       1234   2030-01-01T00:00:00Z  1-1\n"+
		`"\xff"  0      never                 1-2`+"\n")
	h.last().want(t, "GET", "/api/v1/default/lob?cursor=c1&limit=1000&prefix=p")
	newHarness(t, pages...).run("lob", "list", "-json").wantJSON(t, exitDone, `[
		{"key":"a","size":1234,"version":"1-1","checksum":7,"expires_at":"2030-01-01T00:00:00Z"},
		{"key_base64":"/w==","size":0,"version":"1-2"}]`)
}
