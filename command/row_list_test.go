package command

import (
	"net/http"
	"testing"
)

func TestRowList(t *testing.T) {
	pages := []http.HandlerFunc{
		answer(http.StatusOK, `{"rows":[{"rowKey":"a","columns":{"n":"b25l","b":"/w=="},"version":"1-1"}],"cursor":"c1"}`),
		answer(http.StatusOK, `{"rows":[{"row_key_base64":"/w==","columns":{},"version":"1-2"}]}`),
	}
	h := newHarness(t, pages...)
	h.run("row", "list", "-column=n", "-column=b", "-start=a").want(t, exitDone, ""+
		"ROW     COLUMNS\n"+
		`a       b="\xff" n=one`+"\n"+
		`"\xff"  `+"\n")
	h.last().want(t, "GET", "/api/v1/default/row?columns=n%2Cb&cursor=c1&limit=1000&start=a")

	newHarness(t, pages...).run("row", "list", "-json").wantJSON(t, exitDone, `[
		{"rowKey":"a","columns":{"n":"b25l","b":"/w=="},"version":"1-1"},
		{"row_key_base64":"/w==","columns":{},"version":"1-2"}]`)
}
