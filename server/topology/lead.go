package topology

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// term is a time in which this hub leads.
type term struct {
	since  time.Time
	number uint64 // Raft's
}

// leadership runs a term whenever Raft elects this hub, and waits for its end before
// the next.
func (g *Group) leadership() {
	end := func() {}
	defer func() { end() }()
	for {
		select {
		case leads := <-g.raft.LeaderCh():
			end()
			end = func() {}
			if leads {
				end = g.begin()
			}
		case <-g.ctx.Done():
			return
		}
	}
}

// begin starts a term. What it returns ends it.
func (g *Group) begin() func() {
	ctx, cancel := context.WithCancel(g.ctx)
	done := make(chan struct{})
	g.wg.Go(func() {
		defer close(done)
		defer g.term.Store(nil)
		g.lead(ctx)
	})
	return func() {
		cancel()
		<-done
	}
}

// lead is one term: first it applies all that was agreed on before, then it looks after
// the members until it ends.
func (g *Group) lead(ctx context.Context) {
	g.link.forget()
	number := g.raft.CurrentTerm()
	for err := g.takeOver(ctx); err != nil; err = g.takeOver(ctx) {
		if ctx.Err() != nil || g.raft.State() != raft.Leader {
			return
		}
		g.log.Warn("this hub was elected and can't lead yet", "error", err)
		if !g.pause(ctx, g.t.Tick) {
			return
		}
	}
	if g.raft.CurrentTerm() != number {
		return // it has lost the term meanwhile; if it leads again, that is another one
	}
	g.term.Store(&term{since: time.Now(), number: number})
	g.log.Info("this hub leads the group", "cluster", g.State().Cluster, "index", g.State().Index)
	for g.pause(ctx, g.t.Tick) {
		if err := g.tidy(ctx); err != nil && ctx.Err() == nil {
			g.log.Warn("looking after the members of the group failed, and is tried again", "error", err)
		}
	}
}

// pause waits; it answers false where ctx ends first.
func (g *Group) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// takeOver brings this hub's state up to all that was committed before its term, names a new
// group, and says in the state what this hub is.
func (g *Group) takeOver(ctx context.Context) error {
	if err := g.await(ctx, g.raft.Barrier(0)); err != nil {
		return err
	}
	if g.State().Cluster == "" {
		cluster, err := g.clusterID()
		if err != nil {
			return err
		}
		if err := g.apply(ctx, Begin{Cluster: cluster}); err != nil {
			return err
		}
	}
	if s := g.server(g.id); s != nil && s.Address != g.address() {
		if err := g.await(ctx, g.setServer(g.id, g.address(), s.Suffrage)); err != nil {
			return err
		}
	}
	err := g.describe(ctx, g.self())
	if CodeOf(err) != "" { // a leader that isn't described is better than none
		g.log.Warn("the group doesn't take what this hub says of itself", "error", err)
		return nil
	}
	return err
}

// clusterID is that of a group that begins: the one that other hubs have promised to join, or a
// random one.
func (g *Group) clusterID() (string, error) {
	if p, err := g.promise(); err != nil || p.Node == string(g.id) {
		return p.Cluster, err
	}
	return newClusterID()
}

func newClusterID() (string, error) {
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return "", fmt.Errorf("making a cluster id: %w", err)
	}
	return hex.EncodeToString(id[:]), nil
}

// describe writes into the state what a hub is, where that has changed.
func (g *Group) describe(ctx context.Context, h Hub) error {
	if old := g.State().Hubs[h.ID]; old != nil && *old == h {
		return nil
	}
	return g.apply(ctx, SetHub{Hub: h})
}

// apply makes a change as Raft's leader, in the term or on the way into it.
func (g *Group) apply(ctx context.Context, c Command) error {
	entry, err := Encode(c)
	if err != nil {
		return err
	}
	_, err = g.outcome(ctx, g.raft.Apply(entry, g.t.IO))
	return err
}

// setServer makes a hub a member, or another kind of member, or gives it another address.
func (g *Group) setServer(id raft.ServerID, address raft.ServerAddress, as raft.ServerSuffrage) raft.Future {
	if as == raft.Voter {
		return g.raft.AddVoter(id, address, 0, g.t.IO)
	}
	return g.raft.AddNonvoter(id, address, 0, g.t.IO)
}

// tidy looks once at all members: those that have caught up get their vote, those that
// the state doesn't know any more go, and those that are dead for long go where that endangers nothing.
func (g *Group) tidy(ctx context.Context) error {
	if err := g.members.take(ctx); err != nil {
		return err
	}
	defer g.members.give()
	var errs []error
	for _, s := range g.servers() {
		if ctx.Err() != nil {
			break
		}
		if s.ID != g.id {
			errs = append(errs, g.tidyServer(ctx, s))
		}
	}
	return errors.Join(errs...)
}

func (g *Group) tidyServer(ctx context.Context, s raft.Server) error {
	id, instance := splitID(s.ID)
	h := g.State().Hubs[id]
	switch {
	case h == nil || h.Instance != instance:
		g.log.Info("a hub that was removed or replaced leaves the group", "hub", id, "instance", instance)
		return g.await(ctx, g.raft.RemoveServer(s.ID, 0, g.t.IO))
	case s.Suffrage != raft.Voter && h.Voter && g.caughtUp(s.ID):
		g.log.Info("a hub has caught up and has a vote from here on", "hub", id)
		return g.await(ctx, g.raft.AddVoter(s.ID, s.Address, 0, g.t.IO))
	case g.deadForLong(s):
		g.log.Warn("a hub that was away for long is removed from the group", "hub", id, "after", g.t.Dead)
		return g.removeHub(ctx, *h)
	}
	return nil
}

// caughtUp says whether a hub has nearly all that the leader's log has, and is there.
func (g *Group) caughtUp(id raft.ServerID) bool {
	const nearly = 64 // entries
	h := g.link.of(id)
	return g.recent(h.at) && h.last > 0 && h.last+nearly >= g.raft.LastIndex()
}

// recent says whether a follower's answer is new enough for it to be healthy.
func (g *Group) recent(at time.Time) bool {
	return !at.IsZero() && time.Since(at) < 3*g.t.Heartbeat
}

// deadForLong says whether a hub may be removed for being away: for all of Dead in one and the
// same term, with most voters there, and never so that fewer than three voters stay.
func (g *Group) deadForLong(s raft.Server) bool {
	t := g.term.Load()
	if t == nil {
		return false
	}
	last := g.link.of(s.ID).at
	if last.IsZero() {
		last = t.since
	}
	if time.Since(last) < g.t.Dead {
		return false
	}
	voters, healthy := g.census(s.ID)
	return s.Suffrage != raft.Voter || voters >= 3 && 2*healthy > voters+1
}

// census counts the voters but for one hub, and those of them that are there.
func (g *Group) census(without raft.ServerID) (voters, healthy int) {
	for _, s := range g.servers() {
		if s.Suffrage != raft.Voter || s.ID == without {
			continue
		}
		voters++
		if s.ID == g.id || g.recent(g.link.of(s.ID).at) {
			healthy++
		}
	}
	return voters, healthy
}
