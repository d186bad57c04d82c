package command

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/unisondb/unisondb/server/config"
	"github.com/unisondb/unisondb/server/servertest"
)

func TestOperatorRaftRecoverRefuses(t *testing.T) {
	h := newHarness(t, success)
	dir := t.TempDir()
	h.run("operator", "raft", "recover", "-peers=hub-a").want(t, exitUsage, "", "-data-dir is missing")
	h.run("operator", "raft", "recover", "-data-dir="+dir).want(t, exitUsage, "", "-peers is missing")
	h.run("operator", "raft", "recover", "-data-dir="+dir, "-peers=hub-a,,hub-b").want(t, exitUsage, "", "nothing between two commas")
	h.run("operator", "raft", "recover", "-data-dir="+dir, "-peers=hub-a=").want(t, exitUsage, "", "write it as ID or ID=HOST:PORT")
	h.run("operator", "raft", "recover", "-data-dir="+dir, "-peers=hub-a", "-yes").want(t, exitFailed, "", "has no control plane")
	if err := os.Mkdir(filepath.Join(dir, raftFolder), 0o700); err != nil {
		t.Fatal(err)
	}
	h.run("operator", "raft", "recover", "-data-dir="+dir, "-peers=hub-a").want(t, exitUsage, "", "to consist of hub-a from here on", "give -yes")
	h.run("operator", "raft", "recover", "-data-dir="+dir, "-peers=hub-a", "-yes").want(t, exitFailed, "", "holds no control plane")
	if h.requestCount() != 0 {
		t.Error("a node was asked")
	}
}

func TestPeersFlag(t *testing.T) {
	var p peersFlag
	for _, s := range []string{"hub-a, hub-b=10.0.0.2:4002", "hub-c=[::1]:4002/nonvoter,hub-d/nonvoter"} {
		if err := p.Set(s); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := p.String(), "hub-a,hub-b=10.0.0.2:4002,hub-c=[::1]:4002/nonvoter,hub-d/nonvoter"; got != want || p[2].Address != "[::1]:4002" || !p[3].NonVoter {
		t.Errorf("%s, %+v, want %s", got, p, want)
	}
}

// raftRecover lets the first hub go on alone when the second is lost, too.
func (g *operatorGroup) raftRecover() {
	hub := g.hubs[0]
	running := g.run(hub, "operator", "raft", "recover", "-yes", "-data-dir="+hub.Config.DataDir, "-peers=hub-1")
	if running.status != exitFailed {
		g.t.Errorf("the control plane of a hub that runs was recovered: %+v", running)
	}
	g.hubs[1].Stop()
	hub.Stop()
	g.wantFailure(g.run(hub, "operator", "raft", "recover", "-yes", "-data-dir="+hub.Config.DataDir, "-peers=hub-9"), "hub-1")
	var done recovered
	g.json(hub, &done, "operator", "raft", "recover", "-yes", "-data-dir="+hub.Config.DataDir, "-peers=hub-1")
	if _, err := os.Stat(done.Backup); err != nil || len(done.Peers) != 1 {
		g.t.Errorf("recovered %+v: %v", done, err)
	}
	again := hub.Config
	hub.Load = func() (*config.Config, error) { return &again, nil }
	hub.Start()
	servertest.WaitForGroup(g.t, hub)
	if peers := g.peers(hub); len(peers) != 1 || peers[0].Role != "leader" || !peers[0].Healthy {
		g.t.Errorf("peers %+v, want the first hub as the leader", peers)
	}
	if n := len(g.namespaces(hub)); n == 0 {
		g.t.Error("the group has forgotten its namespaces")
	}
}
