package command

import (
	"net/http"
	"testing"
)

const pluginsBody = `[
	{"name":"default/zeromq","type":"zeromq","state":"ready","reason":"","version":"1.2.0","sha256":"aa","restarts":2,"kind":"notifier","pid":41,"memory_bytes":10485760,"memory_limit":536870912,"cpu_seconds":1.25,"log_lines_dropped":0,
	 "namespaces":[{"name":"default","cursor":"","lag_records":0,"delivered":7,"refusals":0,"dead_letters":0,"cursors_lost":0,"last_error":""}]},
	{"name":"orders","type":"webhook","state":"degraded","reason":"/p/notifier-webhook has another checksum: check the file","version":"","sha256":"bb","restarts":0,"kind":"notifier","pid":0,"memory_bytes":0,"memory_limit":536870912,"cpu_seconds":0,"log_lines_dropped":0,
	 "namespaces":[{"name":"orders","cursor":"","lag_records":3,"delivered":0,"refusals":0,"dead_letters":1,"cursors_lost":0,"last_error":""},{"name":"stock","cursor":"","lag_records":12,"delivered":0,"refusals":4,"dead_letters":2,"cursors_lost":0,"last_error":"503"}]},
	{"name":"vector","type":"vector","state":"ready","reason":"","version":"1.2.0","sha256":"cc","restarts":0,"kind":"model","pid":42,"memory_bytes":2048,"memory_limit":536870912,"cpu_seconds":0,"log_lines_dropped":0,"namespaces":[{"name":"embeddings","cursor":"","lag_records":0,"delivered":0,"refusals":0,"dead_letters":0,"cursors_lost":0,"last_error":""}]}]`

const pluginsTable = "" +
	"PLUGIN          TYPE     STATE     VERSION  RESTARTS  MEMORY    CPU   LAG         DEAD LETTERS\n" +
	"default/zeromq  zeromq   ready     1.2.0    2         10.0 MiB  1.2s  0 records   0\n" +
	"orders          webhook  degraded  -        0         -         -     12 records  3\n" +
	"vector          vector   ready     1.2.0    0         2.0 KiB   0.0s  -           -\n" +
	"\norders is degraded: /p/notifier-webhook has another checksum: check the file\n" +
	"\norders in stock: 503\n"

func TestOperatorPluginList(t *testing.T) {
	h := newHarness(t, answer(http.StatusOK, pluginsBody))
	h.run("operator", "plugin", "list").want(t, exitDone, pluginsTable)
	h.last().want(t, "GET", "/v1/plugins")
	h.run("operator", "plugin", "list", "-json").wantJSON(t, exitDone, pluginsBody)
}

func TestOperatorPluginListWithoutPlugins(t *testing.T) {
	h := newHarness(t, answer(http.StatusOK, "[]"))
	h.run("operator", "plugin", "list", "-json").wantJSON(t, exitDone, "[]")
	h.run("operator", "plugin", "list").want(t, exitDone, "PLUGIN  TYPE  STATE  VERSION  RESTARTS  MEMORY  CPU  LAG  DEAD LETTERS\n")
}
