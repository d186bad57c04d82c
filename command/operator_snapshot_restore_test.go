package command

import (
	"encoding/json"
	"net/http"
	"testing"
)

func TestOperatorSnapshotRestore(t *testing.T) {
	content := emptySnapshot(t)
	name := file(t, string(content))
	h := newHarness(t, success)
	h.run("operator", "snapshot", "restore", "-yes", name).want(t, exitDone, "", "Restored the state of index")
	h.last().want(t, "POST", "/v1/snapshot")
	if h.last().body != string(content) {
		t.Error("other bytes were sent than the file has")
	}
	r := h.run("operator", "snapshot", "restore", "-yes", "-force", "-json", name)
	h.last().want(t, "POST", "/v1/snapshot?force=true")
	var got snapshotFile
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil || got.Bytes != int64(len(content)) {
		t.Errorf("%v: %+v", err, r)
	}
	before := h.requestCount()
	h.run("operator", "snapshot", "restore", "-yes", file(t, "hello")).want(t, exitFailed, "", "damaged")
	if h.requestCount() != before {
		t.Error("a node was sent a file that is no snapshot")
	}
	h = newHarness(t, answer(http.StatusConflict, `{"error":"the snapshot is of another group: give -force","code":"OTHER_CLUSTER"}`))
	h.run("operator", "snapshot", "restore", "-yes", name).want(t, exitFailed, "", "of another group: give -force (OTHER_CLUSTER)")
}

// snapshotRestore undoes what was made since the snapshot was saved, and refuses that of another group.
func (g *operatorGroup) snapshotRestore() {
	g.json(g.hubs[0], &struct{}{}, "operator", "plugin", "register", "later", "-type=webhook", "-namespaces=orders")
	var got snapshotFile
	g.json(g.hubs[0], &got, "operator", "snapshot", "restore", "-yes", g.snapshot)
	if all := g.run(g.hubs[0], "operator", "plugin", "list", "-catalog", "-json"); all.status != exitDone || contains(all.stdout, `"later"`) {
		g.t.Errorf("what was made since the snapshot is there: %+v", all)
	}
	if peers := g.peers(g.hubs[0]); len(peers) != 3 {
		g.t.Errorf("the hubs are %+v", peers)
	}
	other := file(g.t, string(emptySnapshot(g.t)))
	before := g.topology(g.hubs[0])
	g.failed(g.hubs[0], "OTHER_CLUSTER", "operator", "snapshot", "restore", "-yes", other)
	if after := g.topology(g.hubs[0]); after.Cluster != before.Cluster || len(after.Namespaces) != len(before.Namespaces) {
		g.t.Errorf("a refused restore has changed %+v to %+v", before, after)
	}
}
