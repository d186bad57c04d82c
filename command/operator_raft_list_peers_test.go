package command

import (
	"net/http"
	"slices"
	"testing"

	"github.com/unisondb/unisondb/sdk/client"
)

const peersBody = `[{"id":"hub-a","address":"10.0.0.1:4002","role":"leader","healthy":true,"last_contact":"0s","instance":"ia","version":"1.2","reads_up_to":20},
	{"id":"hub-b","address":"10.0.0.2:4002","role":"nonvoter","healthy":false,"last_contact":""}]`

func TestOperatorRaftListPeers(t *testing.T) {
	h := newHarness(t, answer(http.StatusOK, peersBody))
	h.run("operator", "raft", "list-peers").want(t, exitDone, ""+
		"ID     ADDRESS        ROLE      HEALTHY  LAST CONTACT  VERSION  READS UP TO\n"+
		"hub-a  10.0.0.1:4002  leader    yes      0s            1.2      20\n"+
		"hub-b  10.0.0.2:4002  nonvoter  no       -             -        0\n")
	h.last().want(t, "GET", "/v1/raft/peers")
	h.run("operator", "raft", "list-peers", "-json").wantJSON(t, exitDone, peersBody)
	h.run("operator", "raft", "list-peers", "x").want(t, exitUsage, "", "takes no arguments")
}

// staleAnswer is answer with the header of a stale read.
func staleAnswer(header, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Unisondb-Stale", header)
		answer(http.StatusOK, body)(w, r)
	}
}

// TestStale: what a node has itself comes with its age on standard error, in JSON as well.
func TestStale(t *testing.T) {
	h := newHarness(t, staleAnswer("index=7; age=1.5s", "[]"))
	for _, args := range [][]string{
		{"operator", "raft", "list-peers"}, {"operator", "namespace", "list"}, {"operator", "relayer", "list"}, {"operator", "relayer", "token", "list"},
	} {
		h.run(append(args, "-stale", "-json")...).want(t, exitDone, "[]\n", "Its state is that of index 7, and heard of the leader 1.5s ago.")
		if got := h.last().uri; got[len(got)-len("?stale=true"):] != "?stale=true" {
			t.Errorf("asked for %s", got)
		}
		h.run(append(args, "-json")...).want(t, exitDone, "[]\n")
	}
	h = newHarness(t, staleAnswer("index=9; age=unknown", "{}"))
	for _, args := range [][]string{
		{"operator", "namespace", "info", "orders"}, {"operator", "relayer", "info", "edge-1"}, {"operator", "topology", "show"},
	} {
		if r := h.run(append(args, "-stale", "-json")...); r.status != exitDone || !contains(r.stderr, "index 9, and has not heard of a leader") {
			t.Errorf("%v: %+v", args, r)
		}
	}
	h = newHarness(t, staleAnswer("index=soon", "[]"))
	h.run("operator", "raft", "list-peers", "-stale").want(t, exitFailed, "", "index=soon, which can't be read")
	h = newHarness(t, answer(http.StatusServiceUnavailable, `{"error":"the group of hubs has no leader","code":"NO_LEADER"}`))
	h.run("operator", "raft", "list-peers").want(t, exitFailed, "", "no leader (NO_LEADER)", "-stale")
}

func (g *operatorGroup) raftListPeers() {
	var peers []client.RaftPeer
	g.eventually("all three hubs have a vote", func() bool {
		peers = g.peers(g.hubs[1])
		return len(peers) == 3 && !slices.ContainsFunc(peers, func(p client.RaftPeer) bool { return p.Role == "nonvoter" })
	})
	leaders := 0
	for i, p := range peers {
		if p.ID != g.hubs[i].Config.NodeID || p.Address != g.hubs[i].Config.Raft.Address || !p.Healthy || p.LastContact == "" {
			g.t.Errorf("peer %+v of %s", p, g.hubs[i].Config.NodeID)
		}
		switch p.Role {
		case "leader":
			leaders++
		case "follower":
		default:
			g.t.Errorf("peer %+v", p)
		}
	}
	if leaders != 1 {
		g.t.Errorf("%d leaders in %+v", leaders, peers)
	}
	stale := g.run(g.hubs[2], "operator", "raft", "list-peers", "-stale", "-json")
	if stale.status != exitDone || !contains(stale.stderr, "Stale:") {
		g.t.Errorf("stale: %+v", stale)
	}
}
