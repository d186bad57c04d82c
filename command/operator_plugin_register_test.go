package command

import (
	"net/http"
	"testing"

	"github.com/unisondb/unisondb/sdk/client"
)

func TestOperatorPluginRegister(t *testing.T) {
	const hello = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
	h := newHarness(t, answer(http.StatusOK, `{"name":"hooks","kind":"notifier","type":"webhook","namespaces":["orders"],"sha256":"`+hello+`"}`))
	h.run("operator", "plugin", "register", "hooks", "-type=webhook", "-namespaces=orders,shop", "-run-on=owner", "-version=1.2",
		"-program="+file(t, "hello"), `-config={"url":"http://x","max":3}`, "-option=max_delay=20ms", "-option=max_refusals=5", `-option=filter={"prefix":"a"}`).
		want(t, exitDone, "", `Plugin "hooks" is in the catalog, checksum `+hello)
	h.last().want(t, "POST", "/v1/plugins")
	sameJSON(t, h.last().body, `{"name":"hooks","kind":"notifier","type":"webhook","namespaces":["orders","shop"],"run_on":"owner","version":"1.2","sha256":"`+hello+`",
		"config":{"url":"http://x","max":3},"options":{"max_delay":"20ms","max_refusals":5,"filter":{"prefix":"a"}}}`)
	h.run("operator", "plugin", "register", "vector", "-kind=model", "-namespaces=orders", "-config=@"+file(t, `{"a":"b"}`), "-json").
		wantJSON(t, exitDone, `{"name":"hooks","kind":"notifier","type":"webhook","namespaces":["orders"],"sha256":"`+hello+`"}`)
	sameJSON(t, h.last().body, `{"name":"vector","kind":"model","namespaces":["orders"],"config":{"a":"b"}}`)
	h.stdin = `{"secret":"x"}`
	h.run("operator", "plugin", "register", "hooks", "-type=webhook", "-namespaces=orders", "-config=-")
	sameJSON(t, h.last().body, `{"name":"hooks","kind":"notifier","type":"webhook","namespaces":["orders"],"config":{"secret":"x"}}`)
	before := h.requestCount()
	for flag, why := range map[string]string{
		"-config=[1]": "no JSON object", "-config=null": "no JSON object", "-config={": "no JSON object", "-option=x": "write it as name=value", "-sha256=00": "",
	} {
		r := h.run("operator", "plugin", "register", "hooks", "-type=webhook", "-namespaces=orders", "-program="+file(t, "hello"), flag)
		if r.status != exitUsage || !contains(r.stderr, why) {
			t.Errorf("%s: %+v", flag, r)
		}
	}
	h.run("operator", "plugin", "register", "hooks", "-type=webhook").want(t, exitUsage, "", "-namespaces is missing")
	if h.requestCount() != before {
		t.Error("a node was asked")
	}
}

// pluginRegister: nodes run what is registered, broken or not, and other entries are refused.
func (g *operatorGroup) pluginRegister() {
	var p client.CatalogPlugin
	g.json(g.hubs[0], &p, "operator", "plugin", "register", "hooks", "-type=webhook", "-namespaces=orders", `-config={"url":"http://127.0.0.1:1/"}`)
	if p.Name != "hooks" || p.Kind != "notifier" || !equal(p.Namespaces, "orders") || p.Config != nil {
		g.t.Errorf("registered %+v", p)
	}
	g.failed(g.hubs[0], "NAMESPACE_NOT_FOUND", "operator", "plugin", "register", "other", "-type=webhook", "-namespaces=none")
	g.failed(g.hubs[0], "BAD_REQUEST", "operator", "plugin", "register", "other", "-kind=thing", "-namespaces=orders")
	g.failed(g.hubs[0], "INVALID_NAME", "operator", "plugin", "register", "a b", "-type=webhook", "-namespaces=orders")
}

// pluginsOf are the plugins that a hub runs.
func (g *operatorGroup) pluginsOf(hub hubNode) []client.Plugin {
	g.t.Helper()
	var all []client.Plugin
	g.json(hub, &all, "operator", "plugin", "list")
	return all
}

// pluginList: the owner runs the notifier, which has no program there, and says so.
func (g *operatorGroup) pluginList() {
	var catalog []client.CatalogPlugin
	g.json(g.hubs[2], &catalog, "operator", "plugin", "list", "-catalog")
	if len(catalog) != 1 || catalog[0].Name != "hooks" {
		g.t.Errorf("the catalog has %+v", catalog)
	}
	g.eventually("the owner of orders has looked for the program", func() bool {
		all := g.pluginsOf(g.hubs[1])
		return len(all) == 1 && all[0].Name == "hooks" && all[0].Type == "webhook" && all[0].State == "degraded" && all[0].Reason != ""
	})
}

// broken says that a plugin doesn't work, and why. It is started again now and then.
func broken(p client.Plugin) bool {
	return (p.State == "degraded" || p.State == "starting") && p.Reason != ""
}

func (g *operatorGroup) pluginInfo() {
	var p client.Plugin
	g.json(g.hubs[1], &p, "operator", "plugin", "info", "hooks")
	if p.Name != "hooks" || !broken(p) {
		g.t.Errorf("plugin %+v", p)
	}
	g.failed(g.hubs[1], "PLUGIN_NOT_FOUND", "operator", "plugin", "info", "none")
}

func (g *operatorGroup) pluginReload() {
	r := g.run(g.hubs[1], "operator", "plugin", "reload", "-json", "hooks")
	var p client.Plugin
	decode(g.t, r.stdout, &p)
	if r.status != exitFailed || p.Name != "hooks" || !broken(p) {
		g.t.Errorf("reloaded %+v", r)
	}
}

func (g *operatorGroup) pluginDeadLettersList() {
	var letters []client.DeadLetter
	g.json(g.hubs[1], &letters, "operator", "plugin", "dead-letters", "list", "hooks")
	if len(letters) != 0 {
		g.t.Errorf("dead letters %+v", letters)
	}
}

func (g *operatorGroup) pluginDeadLettersRetry() {
	r := g.run(g.hubs[1], "operator", "plugin", "dead-letters", "retry", "-json", "hooks")
	var left struct{ Accepted, Left *int }
	if r.status == exitDone {
		decode(g.t, r.stdout, &left)
	}
	if r.status == exitDone && (left.Accepted == nil || *left.Accepted != 0) || r.status != exitDone && !contains(r.stderr, "PLUGIN_UNAVAILABLE") {
		g.t.Errorf("retried %+v", r)
	}
}
