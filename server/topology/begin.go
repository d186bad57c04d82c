package topology

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// A group of bootstrap_expect hubs begins so: each asks the addresses that it has until it knows
// them all. Then the one whose node id comes first asks the others for the promise to join
// its group and no other; each gives it once, and keeps it on its disk. With all promises the first makes a
// group of itself alone, which the others join like any hub. So there is one beginning, whoever
// crashes in between, and no two hubs ever count votes differently.

// vow is to whose group a hub goes.
type vow struct {
	Node    string `json:"node"` // id and instance of the hub that begins it; empty: none
	Cluster string `json:"cluster"`
}

// keyPromise is where the promise is kept, beside Raft's own keys.
var keyPromise = []byte("unisondb/promise")

// waiting are the hubs that wait for a group to begin.
type waiting struct {
	mu    sync.Mutex // held while a promise is given or used, too
	known map[string]waiter
}

// waiter is a hub that waits.
type waiter struct {
	hub    Hub
	expect uint32
	direct time.Time // when it was heard of by itself; zero: others know it
}

// met notes who has answered: the first by itself, the others from hearsay.
func (w *waiting) met(all []*dbv1.Member, expect uint32, self string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, m := range all {
		if m.GetId() != self {
			w.note(hubOf(m), expect, i == 0)
		}
	}
}

func (w *waiting) note(h Hub, expect uint32, direct bool) {
	if w.known == nil {
		w.known = make(map[string]waiter)
	}
	n := waiter{hub: h, expect: expect, direct: w.known[h.ID].direct}
	if direct {
		n.direct = time.Now()
	} else if old, ok := w.known[h.ID]; ok && !old.direct.IsZero() {
		return
	}
	w.known[h.ID] = n
}

// addresses are where those that wait are reached.
func (w *waiting) addresses() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []string
	for _, n := range w.known {
		if n.hub.GRPC != "" {
			all = append(all, n.hub.GRPC)
		}
	}
	return all
}

// there are those that were heard of by themselves not long ago, sorted by id.
func (w *waiting) there(within time.Duration) []waiter {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []waiter
	for _, n := range w.known {
		if !n.direct.IsZero() && time.Since(n.direct) < within {
			all = append(all, n)
		}
	}
	slices.SortFunc(all, func(a, b waiter) int {
		if a.hub.ID < b.hub.ID {
			return -1
		}
		return 1
	})
	return all
}

// meet answers a hub that asks this one while neither is in a group.
func (g *Group) meet(h Hub, r *dbv1.JoinRequest) *dbv1.JoinResponse {
	resp := &dbv1.JoinResponse{BootstrapExpect: g.expects()}
	if r.GetBegins() != "" {
		if err := g.vowTo(h, r); err != nil {
			return refusal(err)
		}
		resp.Promised = true
		return resp
	}
	g.waiting.mu.Lock()
	defer g.waiting.mu.Unlock()
	if r.GetBootstrapExpect() > 0 && h.ID != g.o.NodeID {
		g.waiting.note(h, r.GetBootstrapExpect(), true)
	}
	if g.expects() > 0 {
		resp.Waiting = append(resp.Waiting, memberOf(g.self()))
		for _, n := range g.waiting.known {
			resp.Waiting = append(resp.Waiting, memberOf(n.hub))
		}
	}
	return resp
}

// beginTogether begins a group where all are there and this hub is the first of them. The error
// says what is still missing.
func (g *Group) beginTogether() error {
	want := int(g.expects())
	if want == 0 {
		return errors.New("none of the hubs that join names is in a group: start one of them without join, or set bootstrap_expect on all that are to begin one")
	}
	others := g.waiting.there(5 * g.t.Retry)
	for _, n := range others {
		if n.expect != uint32(want) {
			return fmt.Errorf("hub %q has bootstrap_expect = %d, and this one %d: set the same on all hubs that begin the group", n.hub.ID, n.expect, want)
		}
	}
	switch n := len(others) + 1; {
	case n < want:
		return fmt.Errorf("%d of the %d hubs that begin the group are there: start the others, and see that join names one that all reach", n, want)
	case n > want:
		return fmt.Errorf("%d hubs wait to begin a group, and bootstrap_expect is %d: set it to %d on all of them, or start some of them without it once the group has begun", n, want, n)
	case others[0].hub.ID < g.o.NodeID:
		return fmt.Errorf("hub %q begins the group", others[0].hub.ID)
	}
	return g.beginWith(others)
}

// beginWith begins a group when the others have promised to join it.
func (g *Group) beginWith(others []waiter) error {
	mine, err := g.vowToSelf()
	if err != nil {
		return err
	}
	for _, n := range others {
		resp, err := g.callJoin(n.hub.GRPC, &dbv1.JoinRequest{Begins: mine.Cluster})
		switch {
		case err != nil:
			return fmt.Errorf("hub %q doesn't answer: %w", n.hub.ID, err)
		case resp.GetCode() != "":
			return fmt.Errorf("hub %q: %w", n.hub.ID, &Error{Code: resp.GetCode(), Reason: resp.GetReason()})
		case !resp.GetPromised():
			return fmt.Errorf("hub %q has a group already", n.hub.ID)
		}
	}
	g.waiting.mu.Lock()
	defer g.waiting.mu.Unlock()
	if p, err := g.promise(); err != nil || p != mine {
		return errors.Join(err, errors.New("this hub has promised another one to join its group"))
	}
	first := raft.Configuration{Servers: []raft.Server{{Suffrage: raft.Voter, ID: g.id, Address: g.address()}}}
	if err := g.await(g.ctx, g.raft.BootstrapCluster(first)); err != nil {
		return fmt.Errorf("beginning the group: %w", err)
	}
	g.log.Info("this hub begins the group; the others join it", "cluster", mine.Cluster, "hubs", len(others)+1)
	g.link.elect()
	return nil
}

// vowToSelf is this hub's promise to begin a group itself.
func (g *Group) vowToSelf() (vow, error) {
	g.waiting.mu.Lock()
	defer g.waiting.mu.Unlock()
	p, err := g.promise()
	if err != nil || p.Node == string(g.id) {
		return p, err
	}
	if p.Node != "" {
		return p, g.bound(p)
	}
	cluster, err := newClusterID()
	if err != nil {
		return p, err
	}
	p = vow{Node: string(g.id), Cluster: cluster}
	return p, g.setPromise(p)
}

// vowTo promises a hub to join the group that it begins. A promise binds, but to a hub whose
// data directory is gone; and a hub that hasn't begun its own group yet gives that up for a
// hub whose id comes before its own.
func (g *Group) vowTo(h Hub, r *dbv1.JoinRequest) *Error {
	if r.GetBootstrapExpect() != g.expects() {
		return refuse(CodeBadRequest, "hub %q has bootstrap_expect = %d, and hub %q %d: set the same on all hubs that begin the group", h.ID, r.GetBootstrapExpect(), g.o.NodeID, g.expects())
	}
	g.waiting.mu.Lock()
	defer g.waiting.mu.Unlock()
	if len(g.servers()) > 0 {
		return refuse(CodeAlreadyBootstrapped, "hub %q is in a group already: a second one isn't begun, join that", g.o.NodeID)
	}
	p, err := g.promise()
	if err != nil {
		return refuse(CodeBadRequest, "hub %q can't read its disk: %v", g.o.NodeID, err)
	}
	before, _ := splitID(raft.ServerID(p.Node))
	if p.Node != "" && before != h.ID && !(p.Node == string(g.id) && h.ID < g.o.NodeID) {
		return g.bound(p)
	}
	p = vow{Node: string(serverID(h.ID, h.Instance)), Cluster: r.GetBegins()}
	if err := g.setPromise(p); err != nil {
		return refuse(CodeBadRequest, "hub %q can't write to its disk: %v", g.o.NodeID, err)
	}
	return nil
}

// bound says that a promise is in the way.
func (g *Group) bound(p vow) *Error {
	id, _ := splitID(raft.ServerID(p.Node))
	return refuse(CodeAlreadyBootstrapped, "hub %q has promised hub %q to join the group that it begins: start that one, or if it is gone for good, stop all hubs that wait, remove their raft directories, and start them again", g.o.NodeID, id)
}

// promise is what this hub has promised; zero: nothing.
func (g *Group) promise() (p vow, err error) {
	b, err := g.stores.Stable.Get(keyPromise)
	if isNotFound(err) || err == nil && len(b) == 0 {
		return p, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil {
		return p, fmt.Errorf("reading to whose group this hub goes: %w", err)
	}
	return p, nil
}

func (g *Group) setPromise(p vow) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return g.stores.Stable.Set(keyPromise, b)
}
