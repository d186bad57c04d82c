package command

import (
	"net/http"
	"testing"
)

func TestOperatorRaftRemovePeer(t *testing.T) {
	h := newHarness(t, success)
	h.run("operator", "raft", "remove-peer", "-yes", "hub-c").want(t, exitDone, "", `Hub "hub-c" is no member of the group any more.`)
	h.last().want(t, "POST", "/v1/raft/remove-peer")
	sameJSON(t, h.last().body, `{"id":"hub-c"}`)
	h.run("operator", "raft", "remove-peer", "-yes", "hub-c", "-json").wantJSON(t, exitDone, `{"success":true}`)
	h.run("operator", "raft", "remove-peer", "-yes").want(t, exitUsage, "", "ID is missing")
	h = newHarness(t, answer(http.StatusConflict, `{"error":"hub \"hub-c\" is the last one with a vote","code":"LAST_VOTER"}`))
	h.run("operator", "raft", "remove-peer", "-yes", "hub-c").want(t, exitFailed, "", "the last one with a vote (LAST_VOTER)")
}

// TestConfirmation: what destroys asks on a terminal, and does nothing where there is none.
func TestConfirmation(t *testing.T) {
	snapshot := file(t, string(emptySnapshot(t)))
	for _, args := range [][]string{
		{"operator", "raft", "remove-peer", "hub-c"},
		{"operator", "namespace", "delete", "orders"},
		{"operator", "relayer", "remove", "edge-1"},
		{"operator", "plugin", "deregister", "hooks"},
		{"operator", "snapshot", "restore", snapshot},
	} {
		h := newHarness(t, success)
		changes := func() (n int) {
			h.mu.Lock()
			defer h.mu.Unlock()
			for _, r := range h.requests {
				if r.method != http.MethodGet {
					n++
				}
			}
			return n
		}
		r := h.run(args...)
		if r.status != exitUsage || !contains(r.stderr, "There is no terminal to ask on, so nothing was done: give -yes") || changes() != 0 {
			t.Errorf("%v without a terminal: %+v, %d changes", args, r, changes())
		}
		h.width = 80
		for _, no := range []string{"", "no\n", "y\n", "YES\n", "yes please\n"} {
			h.stdin = no
			if r := h.run(args...); r.status != exitFailed || !contains(r.stderr, `nothing was done, for the answer was not "yes"`) || changes() != 0 {
				t.Errorf("%v, answered %q: %+v, %d changes", args, no, r, changes())
			}
		}
		h.stdin = "yes\n"
		if r := h.run(args...); r.status != exitDone || changes() != 1 {
			t.Errorf("%v, answered yes: %+v, %d changes", args, r, changes())
		}
	}
}

// raftRemovePeer takes out the third hub, which is stopped by then.
func (g *operatorGroup) raftRemovePeer() {
	g.failed(g.hubs[0], "UNKNOWN_HUB", "operator", "raft", "remove-peer", "-yes", "hub-9")
	g.hubs[2].Stop()
	g.eventually("the others miss the third hub", func() bool {
		return !g.peers(g.hubs[0])[2].Healthy
	})
	g.json(g.hubs[0], &struct{}{}, "operator", "raft", "remove-peer", "-yes", "hub-3")
	if peers := g.peers(g.hubs[1]); len(peers) != 2 || peers[0].ID != "hub-1" || peers[1].ID != "hub-2" {
		g.t.Errorf("peers %+v, want the first two", peers)
	}
}
