package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/unisondb/unisondb/server/topology"
)

// emptySnapshot is the snapshot of a group of one hub that has agreed on nothing else yet.
func emptySnapshot(t *testing.T) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	g, err := topology.Start(ctx, topology.Options{
		NodeID: "hub-a", InstanceID: testLineage, Version: "test", Dir: filepath.Join(t.TempDir(), raftFolder), BootstrapExpect: 1, Voter: true, Logger: hclog.NewNullLogger(),
	})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := errors.Join(g.SaveSnapshot(ctx, &b), g.Stop(ctx)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestOperatorSnapshotInspect(t *testing.T) {
	h := newHarness(t, success)
	content := emptySnapshot(t)
	name := file(t, string(content))
	var got snapshotFile
	r := h.run("operator", "snapshot", "inspect", "-json", name)
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil || r.status != exitDone {
		t.Fatalf("%v: %+v", err, r)
	}
	want, err := topology.InspectSnapshot(bytes.NewReader(content))
	if err != nil || got.Path != name || got.Cluster != want.Cluster || got.Index != want.Index || got.Bytes != int64(len(content)) {
		t.Errorf("got %+v, want %+v: %v", got, want, err)
	}
	if r := h.run("operator", "snapshot", "inspect", name); r.status != exitDone || !contains(r.stdout, "Group:") || !contains(r.stdout, want.Cluster) {
		t.Errorf("for people: %+v", r)
	}

	content[len(content)/2] ^= 1
	h.run("operator", "snapshot", "inspect", file(t, string(content))).want(t, exitFailed, "", "damaged")
	h.run("operator", "snapshot", "inspect", file(t, "hello")).want(t, exitFailed, "", "damaged")
	h.run("operator", "snapshot", "inspect", filepath.Join(t.TempDir(), "none")).want(t, exitFailed, "", "no such file")
	if h.requestCount() != 0 {
		t.Error("a node was asked")
	}
}

func (g *operatorGroup) snapshotInspect() {
	var got snapshotFile
	g.json(g.hubs[0], &got, "operator", "snapshot", "inspect", g.snapshot)
	if got.Hubs != 3 || got.Relayers != 2 || got.Namespaces < 2 || got.Cluster != g.topology(g.hubs[0]).Cluster || got.Bytes == 0 {
		g.t.Errorf("inspected %+v", got)
	}
}
