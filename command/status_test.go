package command

import (
	"net/http"
	"strings"
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

const fullStatusBody = `{"node_id":"edge-1","role":"relayer","version":"0.9","namespaces":[
	{"name":"default","role":"replica","owner":"hub-1","lineage":"ff","epoch":3,"lsn":106,"durable_lsn":106,"commit_lsn":105,"checkpoint_lsn":66,"state":"serving","code":"","reason":"",
	 "connected":true,"lag_records":3,"lag_bytes":2048,"lag_seconds":0.5,"hops":2,"owner_lag":{"records":9,"bytes":8192,"seconds":1.25},
	 "snapshot":{"bytes":1048576,"total":4194304},"accepted":"fe",
	 "integrity":{"damaged":true,"damaged_cells":1,"bad_ranges":[4,5],"log_damaged_lsn":50,"tree_damage":"page 3","diverged":{"mark":60,"ranges":[4],"at":"2030-01-02T03:04:05Z"}},
	 "forks":2,"last_fork":"LSN 107 to 109 were cut off","compared":{"lsn":60,"equal":false,"differences":1,"repaired_cells":0,"last_error":"the source is damaged, too"},
	 "followers":[{"node_id":"edge-2","durable_lsn":100,"applied_lsn":99,"lag_records":5},{"node_id":"edge-3","durable_lsn":0,"applied_lsn":0,"lag_records":105,"snapshot_bytes":1024}]}],
	"aside":[{"namespace":"default","path":"/data/aside/default-1.jsonl","reason":"the history forked","at":"2030-01-02T03:04:05Z","directory":false,"first_lsn":107,"last_lsn":109,"records":3},
	 {"namespace":"other","path":"/data/aside/other-1","reason":"replaced","at":"2030-01-02T03:04:05Z","directory":true,"first_lsn":0,"last_lsn":0,"records":0}]}`

func TestStatusTellsEverything(t *testing.T) {
	h := newHarness(t, answer(http.StatusOK, fullStatusBody))
	h.run("status", "-namespace=default").want(t, exitDone, ""+
		"Node:     edge-1\n"+
		"Address:  "+h.env[envAddress]+"\n"+
		"Role:     relayer\n"+
		"Version:  0.9\n"+
		"\n"+
		"NAMESPACE  ROLE     OWNER  STATE    LSN  DURABLE  COMMIT  CHECKPOINT  LAG\n"+
		"default    replica  hub-1  serving  106  106      105     66          3 records, 2.0 KiB, 0.5s; behind the owner, 2 hops up: 9 records, 1.2s\n"+
		"\n"+
		"default receives a snapshot: 1.0 MiB of about 4.0 MiB\n"+
		"\n"+
		"default had another history than its source, 2 times since the start; the last time: LSN 107 to 109 were cut off\n"+
		"\n"+
		"default is to become lineage fe, as soon as its upstream has that.\n"+
		"\n"+
		"default is damaged: 1 stored value, 2 ranges of 1024, the log from LSN 50 on, the B+tree (page 3), 1 range not the source's at LSN 60\n"+
		"\n"+
		"default couldn't be repaired from its source: the source is damaged, too\n"+
		"\n"+
		"NAMESPACE  FOLLOWER  DURABLE  APPLIED  LAG\n"+
		"default    edge-2    100      99       5 records\n"+
		"default    edge-3    0        0        105 records, receives a snapshot: 1.0 KiB sent\n"+
		"\n"+
		"SET ASIDE  WHAT                       WHEN                  PATH                         REASON\n"+
		"default    3 records, LSN 107 to 109  2030-01-02T03:04:05Z  /data/aside/default-1.jsonl  the history forked\n")
	if out := h.run("status").stdout; !strings.Contains(out, "other      directory                  2030-01-02T03:04:05Z  /data/aside/other-1          replaced\n") {
		t.Errorf("a directory that was set aside is missing:\n%s", out)
	}
}

func TestStatusOfOneNamespace(t *testing.T) {
	h := newHarness(t, answer(http.StatusOK, statusBody))
	h.run("status", "-json", "-namespace=orders").wantJSON(t, exitDone, `{"node_id":"edge-1","role":"relayer","version":"0.9","more":true,"namespaces":[
		{"name":"orders","role":"owner","owner":"","lineage":"fe","epoch":3,"lsn":9,"durable_lsn":8,"commit_lsn":8,"checkpoint_lsn":6,"state":"frozen","code":"FSYNC_FAILED","reason":"an fsync failed: restart the node"}]}`)
	h.run("status", "-namespace=nope").want(t, exitFailed, "", `no namespace "nope"`)
}

func TestStatusShowsPlugins(t *testing.T) {
	h := newHarness(t, answer(http.StatusOK, `{"node_id":"edge-1","role":"relayer","version":"0.9","namespaces":[{"name":"embeddings","state":"serving","role":"owner"}],"plugins":`+pluginsBody+`}`))
	if out := h.run("status").stdout; !strings.HasSuffix(out, "\n\n"+pluginsTable) {
		t.Errorf("the plugins are missing:\n%s", out)
	}
	out := h.run("status", "-namespace=embeddings").stdout
	if !strings.Contains(out, "vector  vector  ready") || strings.Contains(out, "webhook") {
		t.Errorf("want the plugins of the namespace:\n%s", out)
	}
}
