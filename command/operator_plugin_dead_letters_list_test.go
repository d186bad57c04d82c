package command

import (
	"net/http"
	"testing"
)

const lettersBody = `[
	{"id":"7-0","namespace":"orders","reason":"422: no such product","refusals":10,"first":"2030-01-02T03:04:05Z","last":"2030-01-02T03:05:06Z","event":{"key":"order:1","operation":"put","lsn":7,"epoch":3}},
	{"id":"8-1","namespace":"orders","reason":"too large\nby far","refusals":1,"first":"2030-01-02T03:04:05Z","last":"2030-01-02T03:05:06Z","event":{"key_base64":"/wA=","operation":"delete","lsn":8,"epoch":3}}]`

func TestOperatorPluginDeadLettersList(t *testing.T) {
	h := newHarness(t, answer(http.StatusOK, lettersBody))
	h.run("operator", "plugin", "dead-letters", "list", "orders").want(t, exitDone, ""+
		"ID   NAMESPACE  OPERATION  KEY         LSN  REFUSALS  LAST                  REASON\n"+
		"7-0  orders     put        order:1     7    10        2030-01-02T03:05:06Z  422: no such product\n"+
		"8-1  orders     delete     \"\\xff\\x00\"  8    1         2030-01-02T03:05:06Z  \"too large\\nby far\"\n")
	h.last().want(t, "GET", "/v1/plugins/orders/dead-letters")
	h.run("operator", "plugin", "dead-letters", "list", "-json", "orders").wantJSON(t, exitDone, lettersBody)
	h.run("operator", "plugin", "dead-letters", "list").want(t, exitUsage, "", "NAME is missing")
}
