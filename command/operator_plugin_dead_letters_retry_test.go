package command

import (
	"net/http"
	"testing"
)

func TestOperatorPluginDeadLettersRetry(t *testing.T) {
	h := newHarness(t, answer(http.StatusOK, `{"accepted":2,"left":0}`))
	h.run("operator", "plugin", "dead-letters", "retry", "default/webhook").want(t, exitDone, "", "2 dead letters accepted.")
	h.last().want(t, "POST", "/v1/plugins/default%2Fwebhook/dead-letters/retry")
	sameJSON(t, h.last().body, `{}`)
	h.run("operator", "plugin", "dead-letters", "retry", "orders", "7-0", "8-1", "-json").wantJSON(t, exitDone, `{"accepted":2,"left":0}`)
	sameJSON(t, h.last().body, `{"ids":["7-0","8-1"]}`)
	h.run("operator", "plugin", "dead-letters", "retry").want(t, exitUsage, "", "NAME is missing")
}

func TestOperatorPluginDeadLettersThatStay(t *testing.T) {
	h := newHarness(t, answer(http.StatusOK, `{"accepted":1,"left":1}`))
	h.run("operator", "plugin", "dead-letters", "retry", "orders").want(t, exitFailed, "", "1 dead letter accepted.", "1 dead letter left", "dead-letters list orders")
	h.run("operator", "plugin", "dead-letters", "retry", "-json", "orders").wantJSON(t, exitFailed, `{"accepted":1,"left":1}`)
}
