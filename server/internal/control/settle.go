package control

import (
	"context"
	"errors"
	"maps"
	"time"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
	"github.com/unisondb/unisondb/server/topology"
)

// settle makes the group agree to what the relayer says of itself and owns, once in the
// session: later a newer session with another hub may have said something else. It ends
// when that is done, or with the session. None of it keeps the relayer waiting.
func (s *session) settle() {
	wait := settleFirst
	for !s.settled() {
		if !sleep(s.ctx, wait) {
			return
		}
		wait = min(2*wait, settleMax)
	}
}

// settled makes one attempt at all of it.
func (s *session) settled() bool {
	ctx, cancel := context.WithTimeout(s.ctx, groupTimeout)
	defer cancel()
	state := s.desk.o.Group.State()
	if state.Index < s.floor.Load() {
		var err error
		if state, err = s.desk.o.Group.Sync(ctx); err != nil {
			return false
		}
		// As new as the group's, whatever the relayer has seen: hubs that were recovered from an
		// older state begin again at a lower index.
		s.floor.Store(max(s.joined, min(s.floor.Load(), state.Index)))
		s.look()
	}
	commands := s.describe(state)
	for _, owned := range s.claim.hello.GetOwned() {
		commands = append(commands, s.own(state, owned)...)
	}
	for _, c := range commands {
		if !s.propose(ctx, c) {
			return false
		}
	}
	return true
}

// propose says whether a command needs no other attempt: one that was refused doesn't get
// better.
func (s *session) propose(ctx context.Context, c topology.Command) bool {
	_, err := s.desk.o.Group.Propose(ctx, c)
	if e, ok := errors.AsType[*topology.Error](err); ok {
		s.desk.o.Logger.Warn("what a relayer says of itself is refused", "relayer", s.id(), "code", e.Code, "reason", e.Reason)
		return true
	}
	return err == nil
}

// describe is for a relayer that says something else of itself than the group knows.
func (s *session) describe(state *topology.State) []topology.Command {
	known, r := state.Relayers[s.id()], s.claim.relayer
	if known == nil {
		return nil
	}
	labels := maps.Clone(r.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, known.Granted)
	if maps.Equal(labels, known.Labels) && r.Region == known.Region && r.Advertise == known.Advertise {
		return nil
	}
	return []topology.Command{topology.SetRelayer{Relayer: r}}
}

// own is for a namespace that the relayer owns: the group is told of it, and that it comes
// by this hub. One that the group knows as somebody else's, or as deleted, isn't taken:
// the acceptor then refuses what the relayer offers.
func (s *session) own(state *topology.State, owned *dbv1.OwnedNamespace) []topology.Command {
	owner := topology.Node{Kind: topology.KindRelayer, ID: s.id()}
	via := topology.SetVia{Name: owned.GetName(), Via: s.desk.o.NodeID}
	ns := state.Namespaces[owned.GetName()]
	switch {
	case ns == nil && state.Deleted[owned.GetLineage()] != nil:
		return nil
	case ns == nil:
		return []topology.Command{topology.EnsureNamespace{
			Name: owned.GetName(), Lineage: owned.GetLineage(), Owner: owner,
			Settings: topology.Settings{Acks: "local"}, Created: s.desk.o.Clock().UTC().Truncate(time.Second),
		}, via}
	case ns.Owner != owner || ns.Lineage != owned.GetLineage():
		s.desk.o.Logger.Warn("a relayer owns a namespace that the group knows as another's", "relayer", s.id(), "namespace", ns.Name,
			"lineage", clip(owned.GetLineage(), maxCodeLen), "owner", ns.Owner.ID, "owner_lineage", ns.Lineage)
		return nil
	case ns.Via == via.Via:
		return nil
	}
	return []topology.Command{via}
}
