package command

import (
	"net/http"
	"testing"
)

const (
	notifierBody = `{"name":"default/webhook","type":"webhook","state":"degraded","reason":"it exits at once","version":"1.2.0","sha256":"aa","restarts":2,"kind":"notifier","description":"Posts JSON.","path":"/p/notifier-webhook",
	"pid":41,"memory_bytes":10485760,"memory_limit":536870912,"cpu_seconds":1.25,"log_lines_dropped":9,
	"namespaces":[{"name":"default","cursor":"` + testPosition + `","lag_records":3,"delivered":7,"refusals":1,"dead_letters":2,"cursors_lost":1,"last_error":"503"}]}`
	modelBody = `{"name":"vector","type":"vector","state":"ready","reason":"","version":"","sha256":"","restarts":0,"kind":"model","pid":0,"memory_bytes":0,"memory_limit":1,"cpu_seconds":0,"log_lines_dropped":0,
	"methods":[{"name":"search","writes":false,"description":"Finds."},{"name":"upsert","writes":true}],"namespaces":[{"name":"embeddings","cursor":"","lag_records":0,"delivered":0,"refusals":0,"dead_letters":0,"cursors_lost":0,"last_error":""}]}`
)

func TestOperatorPluginInfo(t *testing.T) {
	h := newHarness(t, answer(http.StatusOK, notifierBody))
	h.run("operator", "plugin", "info", "default/webhook").want(t, exitDone, ""+
		"Plugin:             default/webhook\n"+
		"Kind:               notifier\n"+
		"Type:               webhook\n"+
		"State:              degraded\n"+
		"Reason:             it exits at once\n"+
		"Description:        Posts JSON.\n"+
		"Version:            1.2.0\n"+
		"SHA-256:            aa\n"+
		"Program:            /p/notifier-webhook\n"+
		"Restarts:           2\n"+
		"Process:            41\n"+
		"Memory:             10.0 MiB of at most 512.0 MiB\n"+
		"CPU:                1.2s\n"+
		"Log lines dropped:  9\n"+
		"\n"+
		"NAMESPACE  CURSOR                                      LAG        DELIVERED  REFUSED  DEAD LETTERS  CURSORS LOST  LAST ERROR\n"+
		"default    "+testPosition+"  3 records  7          1        2             1             503\n")
	h.last().want(t, "GET", "/v1/plugins/default%2Fwebhook")
	h.run("operator", "plugin", "info", "-json", "default/webhook").wantJSON(t, exitDone, notifierBody)
	h.run("operator", "plugin", "info").want(t, exitUsage, "", "NAME is missing")
}

func TestOperatorPluginInfoOfAModel(t *testing.T) {
	h := newHarness(t, answer(http.StatusOK, modelBody))
	h.run("operator", "plugin", "info", "vector").want(t, exitDone, ""+
		"Plugin:    vector\n"+
		"Kind:      model\n"+
		"Type:      vector\n"+
		"State:     ready\n"+
		"Version:   -\n"+
		"SHA-256:   -\n"+
		"Program:   -\n"+
		"Restarts:  0\n"+
		"\n"+
		"METHOD  WRITES  DESCRIPTION\n"+
		"search  no      Finds.\n"+
		"upsert  yes     -\n"+
		"\n"+
		"NAMESPACE\n"+
		"embeddings\n")
}

func TestOperatorPluginInfoOfNone(t *testing.T) {
	h := newHarness(t, answer(http.StatusNotFound, `{"error":"no plugin \"x\" is configured","code":"PLUGIN_NOT_FOUND"}`))
	h.run("operator", "plugin", "info", "x").want(t, exitFailed, "", `no plugin "x" is configured (PLUGIN_NOT_FOUND)`)
}
