package command

import (
	"net/http"
	"testing"
)

func TestOperatorRelayerTokenRevoke(t *testing.T) {
	h := newHarness(t, success)
	h.run("operator", "relayer", "token", "revoke", "t1").want(t, exitDone, "", "Join token t1 can't be used any more.")
	h.last().want(t, "DELETE", "/v1/relayers/tokens/t1")
	h.run("operator", "relayer", "token", "revoke", "t1", "-json").wantJSON(t, exitDone, `{"success":true}`)
	h.run("operator", "relayer", "token", "revoke").want(t, exitUsage, "", "TOKEN-ID is missing")
	h = newHarness(t, answer(http.StatusNotFound, `{"error":"there is no such join token","code":"TOKEN_NOT_FOUND"}`))
	h.run("operator", "relayer", "token", "revoke", "t9").want(t, exitFailed, "", "there is no such join token (TOKEN_NOT_FOUND)")
}
