package command

import (
	"net/http"
	"testing"
)

func TestOperatorPluginDeregister(t *testing.T) {
	h := newHarness(t, success)
	h.run("operator", "plugin", "deregister", "-yes", "shop/hooks").want(t, exitDone, "", `Plugin "shop/hooks" is no longer in the catalog.`)
	h.last().want(t, "DELETE", "/v1/plugins/shop%2Fhooks")
	h.run("operator", "plugin", "deregister", "-yes", "hooks", "-json").wantJSON(t, exitDone, `{"success":true}`)
	h = newHarness(t, answer(http.StatusNotFound, `{"error":"there is no plugin \"hooks\" in the catalog","code":"PLUGIN_NOT_FOUND"}`))
	h.run("operator", "plugin", "deregister", "-yes", "hooks").want(t, exitFailed, "", "(PLUGIN_NOT_FOUND)")
}

// pluginDeregister: a broken plugin is taken out, and nodes run it no longer.
func (g *operatorGroup) pluginDeregister() {
	g.json(g.hubs[2], &struct{}{}, "operator", "plugin", "deregister", "-yes", "hooks")
	g.eventually("the owner of orders runs no plugin", func() bool { return len(g.pluginsOf(g.hubs[1])) == 0 })
	g.failed(g.hubs[0], "PLUGIN_NOT_FOUND", "operator", "plugin", "deregister", "-yes", "hooks")
}
