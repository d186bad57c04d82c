// Package placement brings the namespaces of a node to where they are wanted: what it
// is to own, to follow, to receive and to give up. What is wanted comes from the
// group's state on a hub (ForHub), and from its assignment on a relayer (ForRelayer); how
// it is done is a Placer's. DESIGN.md says why it is safe.
package placement

import (
	"maps"
	"reflect"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
	"github.com/unisondb/unisondb/server/topology"
)

// Role is what a node is to do with a namespace.
type Role int

// The roles.
const (
	// None is that of a namespace that exists, or did, and isn't for this node.
	None Role = iota
	// Own makes the node the one that takes writes.
	Own
	// Follow makes it stream the namespace from one of its sources.
	Follow
	// Receive makes it take the namespace from a relayer that owns it and offers it.
	Receive
)

// String is the role in a word.
func (r Role) String() string {
	switch r {
	case Own:
		return "own"
	case Follow:
		return "follow"
	case Receive:
		return "receive"
	case None:
	}
	return "none"
}

// Want is what is wanted of one namespace.
type Want struct {
	Role    Role
	Lineage string            // as the group has it; empty: not known
	Owner   topology.Node     // of a namespace that exists
	Sources []topology.Source // of Follow, the best first
	Quota   dbkernel.Quota    // of Own
	// Instance, of Own, is that of the hub which the namespace was created for; empty: not known.
	Instance string
	// Gone are lineages of this name that an operator has deleted, with the time until
	// which their data is kept aside.
	Gone map[string]time.Time
}

// Equal says whether two wants are the same.
func (w Want) Equal(other Want) bool { return reflect.DeepEqual(w, other) }

// ForHub is what a state wants of a hub, by name. Names of which the state knows nothing are
// absent: they are left as they are. has says whether this hub has a copy of a namespace.
//
// A namespace that a relayer owns stays where it has once come to, since the relayer goes from
// one hub to another as connections break, and each would begin anew.
func ForHub(s *topology.State, id string, has func(name string) bool) map[string]Want {
	wanted := map[string]Want{}
	for name, ns := range s.Namespaces {
		wanted[name] = forHub(s, ns, id, has)
	}
	for lineage, ns := range s.Deleted {
		if ns.Replaced {
			continue // its owner had lost it: what others have of it may be all that is left
		}
		w := wanted[ns.Name]
		w.Gone = maps.Clone(w.Gone)
		if w.Gone == nil {
			w.Gone = map[string]time.Time{}
		}
		w.Gone[lineage] = ns.Deleted.Add(ns.Grace)
		wanted[ns.Name] = w
	}
	return wanted
}

func forHub(s *topology.State, ns *topology.Namespace, id string, has func(string) bool) Want {
	w := Want{Lineage: ns.Lineage, Owner: ns.Owner}
	switch {
	case ns.Owner == topology.Node{Kind: topology.KindHub, ID: id}:
		w.Role = Own
		w.Instance = ns.Instance
		w.Quota = dbkernel.Quota{MaxBytes: ns.Settings.MaxBytes, WriteBytesPerSecond: ns.Settings.WriteBytesPerSecond}
	case ns.Owner.Kind == topology.KindRelayer && ns.Via == id:
		w.Role = Receive
	case contains(s.HubsOf(ns.Name), id) || ns.Owner.Kind == topology.KindRelayer && has(ns.Name):
		w.Role = Follow
		w.Sources = hubSources(s, ns, id)
	}
	return w
}

// hubSources are the hubs from which a hub follows: the one that the namespace comes from, then those
// that replicate it and stand before this one by their ids. So no two follow each other.
func hubSources(s *topology.State, ns *topology.Namespace, id string) []topology.Source {
	first := ns.Owner.ID
	if ns.Owner.Kind == topology.KindRelayer {
		first = ns.Via
	}
	var sources []topology.Source
	add := func(hub string) {
		if h := s.Hubs[hub]; h != nil && h.GRPC != "" && hub != id {
			sources = append(sources, topology.Source{Node: hub, Address: h.GRPC})
		}
	}
	add(first)
	for _, hub := range s.HubsOf(ns.Name) {
		if hub != first && hub < id {
			add(hub)
		}
	}
	return sources
}

// ForRelayer is what an assignment wants of a relayer, by name. placed are the namespaces that
// earlier assignments gave it; those that are absent from this one are taken away. configured
// says which names the relayer's own configuration rules.
func ForRelayer(a *dbv1.Assignment, placed []string, configured func(name string) bool) map[string]Want {
	wanted := map[string]Want{}
	for _, name := range placed {
		if !configured(name) {
			wanted[name] = Want{}
		}
	}
	for _, ns := range a.GetNamespaces() {
		if configured(ns.GetName()) {
			continue
		}
		w := Want{Role: Follow, Lineage: ns.GetLineage()}
		for _, s := range ns.GetSources() {
			w.Sources = append(w.Sources, topology.Source{Node: s.GetNodeId(), Address: s.GetAddress()})
		}
		for _, lineage := range ns.GetDeleted() {
			if w.Gone == nil {
				w.Gone = map[string]time.Time{}
			}
			w.Gone[lineage.GetLineage()] = time.UnixMilli(lineage.GetUntilUnixMs())
		}
		wanted[ns.GetName()] = w
	}
	return wanted
}

func contains(ids []string, id string) bool {
	for _, other := range ids {
		if other == id {
			return true
		}
	}
	return false
}
