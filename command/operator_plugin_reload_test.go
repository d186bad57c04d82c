package command

import (
	"net/http"
	"testing"
)

func TestOperatorPluginReload(t *testing.T) {
	const ready = `{"name":"vector","type":"vector","state":"ready","reason":"","version":"1.3.0","sha256":"aa","restarts":0,"kind":"model","pid":0,"memory_bytes":0,"memory_limit":0,"cpu_seconds":0,"log_lines_dropped":0,"namespaces":[]}`
	h := newHarness(t, answer(http.StatusOK, ready))
	h.run("operator", "plugin", "reload", "vector").want(t, exitDone, "", `Plugin "vector" is ready: version 1.3.0, checksum aa.`)
	h.last().want(t, "POST", "/v1/plugins/vector/reload")
	h.run("operator", "plugin", "reload", "-json", "vector").wantJSON(t, exitDone, ready)
	h.run("operator", "plugin", "reload").want(t, exitUsage, "", "NAME is missing")
}

func TestOperatorPluginReloadThatFails(t *testing.T) {
	h := newHarness(t, answer(http.StatusOK, notifierBody))
	h.run("operator", "plugin", "reload", "default/webhook").want(t, exitFailed, "", `Error: plugin "default/webhook" is degraded: it exits at once`)
	h.last().want(t, "POST", "/v1/plugins/default%2Fwebhook/reload")
	h.run("operator", "plugin", "reload", "-json", "default/webhook").wantJSON(t, exitFailed, notifierBody)
}
