package command

import (
	"net/http"
	"testing"
)

func TestOperatorRaftTransferLeader(t *testing.T) {
	h := newHarness(t, success)
	h.run("operator", "raft", "transfer-leader").want(t, exitDone, "", "The group's leader is another hub.")
	h.last().want(t, "POST", "/v1/raft/transfer-leader")
	sameJSON(t, h.last().body, `{}`)
	h.run("operator", "raft", "transfer-leader", "hub-b").want(t, exitDone, "", "The group's leader is hub hub-b.")
	sameJSON(t, h.last().body, `{"to":"hub-b"}`)
	h.run("operator", "raft", "transfer-leader", "-json").wantJSON(t, exitDone, `{"success":true}`)
	h = newHarness(t, answer(http.StatusNotFound, `{"error":"no hub \"hub-z\" is in the group","code":"UNKNOWN_HUB"}`))
	h.run("operator", "raft", "transfer-leader", "hub-z").want(t, exitFailed, "", "(UNKNOWN_HUB)")
}

func (g *operatorGroup) raftTransferLeader() {
	leader := g.leader()
	to := g.hubs[0].Config.NodeID
	if to == leader {
		to = g.hubs[1].Config.NodeID
	}
	g.json(g.hubs[2], &struct{}{}, "operator", "raft", "transfer-leader", to)
	g.eventually("the other hub leads", func() bool { return g.leader() == to })
	g.failed(g.hubs[0], "UNKNOWN_HUB", "operator", "raft", "transfer-leader", "hub-9")
}

// leader is the id of the hub that leads, or empty.
func (g *operatorGroup) leader() string {
	for _, p := range g.peers(g.hubs[0]) {
		if p.Role == "leader" {
			return p.ID
		}
	}
	return ""
}
