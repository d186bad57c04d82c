package command

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/unisondb/unisondb/sdk/client"
)

const tokenBody = `{"id":"t1","token":"unison-join.t1.secret","expires":"2030-01-02T03:04:05Z","uses":40,"relayer":"store-*","labels":{"region":"eu"}}`

func TestOperatorRelayerToken(t *testing.T) {
	h := newHarness(t, answer(http.StatusOK, tokenBody))
	r := h.run("operator", "relayer", "token", "-ttl=90m", "-uses=40", "-relayer=store-*", "-labels=region=eu")
	r.want(t, exitDone, "unison-join.t1.secret\n", "Token t1 can be used until 2030-01-02T03:04:05Z by 40 relayers. It can't be shown again.")
	if strings.Contains(r.stderr, "secret") {
		t.Errorf("the secret is in a message: %s", r.stderr)
	}
	h.last().want(t, "POST", "/v1/relayers/tokens")
	sameJSON(t, h.last().body, `{"ttl":"1h30m0s","uses":40,"relayer":"store-*","labels":{"region":"eu"}}`)
	h.run("operator", "relayer", "token", "-json").wantJSON(t, exitDone, tokenBody)
	sameJSON(t, h.last().body, `{"ttl":"1h0m0s","uses":1}`)
	h.run("operator", "relayer", "token", "-ttl=0s").want(t, exitUsage, "", "-ttl=0s is not in the future")
	h.run("operator", "relayer", "token", "-uses=0").want(t, exitUsage, "", "-uses=0 is no number of relayers")
	h.run("operator", "relayer", "token", "creat").want(t, exitUsage, "", "takes no arguments")
}

func (g *operatorGroup) relayerToken() {
	g.json(g.hubs[1], &g.token, "operator", "relayer", "token", "-ttl=2h", "-uses=3", "-relayer=edge-*", "-labels=region=us")
	if g.token.ID == "" || len(g.token.Token) < 32 || g.token.Uses != 3 || g.token.Relayer != "edge-*" || g.token.Labels["region"] != "us" || time.Until(g.token.Expires) < time.Hour {
		g.t.Errorf("token %+v", g.token)
	}
	g.failed(g.hubs[0], "INVALID_NAME", "operator", "relayer", "token", "-relayer=/")
}

func (g *operatorGroup) relayerTokenList() {
	all := g.tokens()
	if len(all) != 1 || all[0].ID != g.token.ID || all[0].Token != "" || all[0].Uses != 3 || !all[0].Expires.Equal(g.token.Expires) {
		g.t.Errorf("tokens %+v, want %+v without its secret", all, g.token)
	}
}

func (g *operatorGroup) relayerTokenRevoke() {
	g.json(g.hubs[2], &struct{}{}, "operator", "relayer", "token", "revoke", g.token.ID)
	if all := g.tokens(); len(all) != 0 {
		g.t.Errorf("tokens %+v, want none", all)
	}
	g.failed(g.hubs[0], "TOKEN_NOT_FOUND", "operator", "relayer", "token", "revoke", g.token.ID)
}

func (g *operatorGroup) tokens() []client.JoinToken {
	g.t.Helper()
	var all []client.JoinToken
	g.json(g.hubs[0], &all, "operator", "relayer", "token", "list")
	return all
}
