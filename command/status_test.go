package command

import (
	"net/http"
	"testing"
)

const statusBody = `{"node_id":"edge-1","role":"relayer","version":"0.9","more":true,"namespaces":[
	{"name":"default","role":"replica","owner":"hub-1","lineage":"ff","epoch":3,"lsn":106,"durable_lsn":106,"commit_lsn":105,"checkpoint_lsn":66,"state":"serving","code":"","reason":"","connected":false,"lag_records":1,"lag_seconds":2.5},
	{"name":"orders","role":"owner","owner":"","lineage":"fe","epoch":3,"lsn":9,"durable_lsn":8,"commit_lsn":8,"checkpoint_lsn":6,"state":"frozen","code":"FSYNC_FAILED","reason":"an fsync failed: restart the node"}]}`

func TestStatus(t *testing.T) {
	h := newHarness(t, answer(http.StatusOK, statusBody))
	h.env[envNamespace] = "orders" // of all commands; it doesn't narrow a node's status
	h.run("status").want(t, exitDone, ""+
		"Node:     edge-1\n"+
		"Address:  "+h.env[envAddress]+"\n"+
		"Role:     relayer\n"+
		"Version:  0.9\n"+
		"\n"+
		"NAMESPACE  ROLE     OWNER  STATE    LSN  DURABLE  COMMIT  CHECKPOINT  LAG\n"+
		"default    replica  hub-1  serving  106  106      105     66          1 records, 2.5s, disconnected\n"+
		"orders     owner    -      frozen   9    8        8       6           -\n"+
		"\n"+
		"orders is frozen (FSYNC_FAILED): an fsync failed: restart the node\n")
	h.last().want(t, "GET", "/v1/status")
	h.run("status", "-json").wantJSON(t, exitDone, statusBody)
}

func TestStatusOfOneNamespace(t *testing.T) {
	h := newHarness(t, answer(http.StatusOK, statusBody))
	h.run("status", "-json", "-namespace=orders").wantJSON(t, exitDone, `{"node_id":"edge-1","role":"relayer","version":"0.9","more":true,"namespaces":[
		{"name":"orders","role":"owner","owner":"","lineage":"fe","epoch":3,"lsn":9,"durable_lsn":8,"commit_lsn":8,"checkpoint_lsn":6,"state":"frozen","code":"FSYNC_FAILED","reason":"an fsync failed: restart the node"}]}`)
	h.run("status", "-namespace=nope").want(t, exitFailed, "", `no namespace "nope"`)
}
