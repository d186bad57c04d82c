package command

import (
	"net/http"
	"testing"
)

func TestOperatorReload(t *testing.T) {
	h := newHarness(t, answer(http.StatusOK, `{"success":true,"changed":["log level: debug, was info","model \"vector\": added"]}`))
	h.run("operator", "reload").want(t, exitDone, "", "log level: debug, was info\n", "model \"vector\": added\n")
	h.last().want(t, "POST", "/v1/reload")
	h.run("operator", "reload", "-json").wantJSON(t, exitDone, `{"success":true,"changed":["log level: debug, was info","model \"vector\": added"]}`)
}

func TestOperatorReloadOfTheSame(t *testing.T) {
	h := newHarness(t, answer(http.StatusOK, `{"success":true,"changed":[]}`))
	h.run("operator", "reload").want(t, exitDone, "", "The configuration says what it said before.")
	h.run("operator", "reload", "-json").wantJSON(t, exitDone, `{"success":true,"changed":[]}`)
}

func TestOperatorReloadRefused(t *testing.T) {
	h := newHarness(t, answer(http.StatusConflict, `{"error":"nothing was changed:\n  hub.hcl:3: engine in storage was \"lmdb\" and is \"bolt\"","code":"CONFIG_FIXED"}`))
	h.run("operator", "reload").want(t, exitFailed, "", `hub.hcl:3: engine in storage was "lmdb" and is "bolt" (CONFIG_FIXED)`)
}

// reload reads the same configuration again.
func (g *operatorGroup) reload() {
	var got struct {
		Success bool
		Changed []string
	}
	g.json(g.hubs[0], &got, "operator", "reload")
	if !got.Success || len(got.Changed) != 0 {
		g.t.Errorf("reloaded %+v", got)
	}
}
