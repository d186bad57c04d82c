package command

import (
	"net/http"
	"testing"
)

func TestOperatorRelayerTokenList(t *testing.T) {
	const body = `[{"id":"t1","expires":"2030-01-02T03:04:05Z","uses":40,"relayer":"store-*","labels":{"region":"eu"}},{"id":"t2","expires":"2030-01-02T03:04:05Z","uses":1}]`
	h := newHarness(t, answer(http.StatusOK, body))
	h.run("operator", "relayer", "token", "list").want(t, exitDone, ""+
		"TOKEN  EXPIRES               USES LEFT  RELAYERS  LABELS\n"+
		"t1     2030-01-02T03:04:05Z  40         store-*   region=eu\n"+
		"t2     2030-01-02T03:04:05Z  1          any       -\n")
	h.last().want(t, "GET", "/v1/relayers/tokens")
	h.run("operator", "relayer", "token", "list", "-json").wantJSON(t, exitDone, body)
}
