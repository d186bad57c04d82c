package topology

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Key names an assignment: two that mean the same have the same one.
func (a Assignment) Key() string {
	var b strings.Builder
	b.WriteString(a.Namespace)
	if len(a.Selector) == 0 {
		return b.String() + "/" + a.Relayer
	}
	for _, name := range slices.Sorted(maps.Keys(a.Selector)) {
		b.WriteString("," + name + "=" + a.Selector[name])
	}
	if a.Relayer != "" { // refused, but not the same as one without
		b.WriteString("/" + a.Relayer)
	}
	return b.String()
}

// HubsOf are the ids of the hubs that have a namespace, or are to have it: its owner, or the hub that
// receives it from the relayer that owns it, and the members that its replicate setting names. They
// are sorted. An unknown namespace has none.
func (s *State) HubsOf(name string) []string {
	ns := s.Namespaces[name]
	if ns == nil {
		return nil
	}
	var hubs []string
	if ns.Owner.Kind == KindHub {
		hubs = append(hubs, ns.Owner.ID)
	}
	if ns.Via != "" {
		hubs = append(hubs, ns.Via)
	}
	if ns.Settings.Replicate != nil {
		for id := range s.Hubs {
			if matchesAny(ns.Settings.Replicate.Hubs, id) {
				hubs = append(hubs, id)
			}
		}
	}
	slices.Sort(hubs)
	return slices.Compact(hubs)
}

// AssignedTo are the namespaces that the control plane gives to a relayer, sorted: those whose replicate
// setting names it and those that are assigned to it; none that it owns. One that is draining gets only
// what it had when that began. An unknown relayer gets none.
func (s *State) AssignedTo(relayer string) []string {
	r := s.Relayers[relayer]
	if r == nil {
		return nil
	}
	l := s.lookup()
	candidates := slices.Clone(l.explicit[relayer])
	for name := range l.general {
		candidates = append(candidates, name)
	}
	candidates = append(candidates, l.replicated...)
	slices.Sort(candidates)
	candidates = slices.Compact(candidates)
	candidates = slices.DeleteFunc(candidates, func(name string) bool { return !s.gets(r, s.Namespaces[name]) })
	if len(candidates) == 0 {
		return nil // as it comes back from a snapshot
	}
	return candidates
}

// gets says whether a relayer is given a namespace that it doesn't own.
func (s *State) gets(r *Relayer, ns *Namespace) bool {
	if ns == nil || ns.Owner == (Node{Kind: KindRelayer, ID: r.ID}) {
		return false
	}
	if r.Draining && !slices.Contains(r.Kept, ns.Name) {
		return false
	}
	return s.meant(r.ID, r.Labels, ns)
}

// meant says whether a setting or an assignment stands for a relayer.
func (s *State) meant(id string, labels map[string]string, ns *Namespace) bool {
	if rep := ns.Settings.Replicate; rep != nil && (matchesAny(rep.Relayers, id) || selects(rep.Selector, labels)) {
		return true
	}
	l := s.lookup()
	if _, found := slices.BinarySearch(l.explicit[id], ns.Name); found {
		return true
	}
	return slices.ContainsFunc(l.general[ns.Name], func(a *Assignment) bool { return a.means(id, labels) })
}

func (a *Assignment) means(id string, labels map[string]string) bool {
	if a.Relayer != "" {
		return matches(a.Relayer, id)
	}
	return selects(a.Selector, labels)
}

// SourcesFor is where a relayer streams a namespace from, the best first: its upstream if that one gets
// the namespace too, the hub that it attends, the owner or the hub that receives it from an edge, and
// the other hubs that have it. Nodes that nobody can reach are left out. attended may be empty.
func (s *State) SourcesFor(relayer, namespace, attended string) []Source {
	r, ns := s.Relayers[relayer], s.Namespaces[namespace]
	if r == nil || ns == nil || ns.Owner == (Node{Kind: KindRelayer, ID: relayer}) {
		return nil
	}
	hubs := s.HubsOf(namespace)
	var sources []Source
	add := func(node, address string) {
		if address != "" && !slices.ContainsFunc(sources, func(has Source) bool { return has.Node == node }) {
			sources = append(sources, Source{Node: node, Address: address})
		}
	}
	hub := func(id string) {
		if h := s.Hubs[id]; h != nil && slices.Contains(hubs, id) {
			add(id, h.GRPC)
		}
	}
	if up := s.Relayers[r.Upstream]; up != nil && !up.Draining && s.gets(up, ns) {
		add(up.ID, up.Advertise)
	}
	hub(r.Upstream)
	hub(attended)
	hub(ns.Owner.ID)
	hub(ns.Via)
	for _, id := range hubs {
		hub(id)
	}
	return sources
}

// MayFollow says why a node must not follow a namespace, as an *Error; nil: it may. Without a replicate setting
// everybody may. With one, it is for the nodes that the setting names, those that it is assigned to, its owner and the
// hub that receives it from its owner. labels are those of a relayer that the state doesn't know.
func (s *State) MayFollow(n Node, labels map[string]string, namespace string) error {
	ns := s.Namespaces[namespace]
	if ns == nil {
		return refuse(CodeNamespaceNotFound, "there is no namespace %s", quoted(namespace))
	}
	if ns.Settings.Replicate == nil || ns.Owner == n {
		return nil
	}
	if n.Kind == KindHub {
		if n.ID == ns.Via || matchesAny(ns.Settings.Replicate.Hubs, n.ID) {
			return nil
		}
	} else {
		if r := s.Relayers[n.ID]; r != nil {
			labels = r.Labels
		}
		if s.meant(n.ID, labels, ns) {
			return nil
		}
	}
	return refuse(CodeNotFollowable, "namespace %q isn't for %s %s: assign it by 'unisondb operator topology assign', name the node in its replicate setting by 'unisondb operator namespace set', or stop following it", namespace, n.Kind, strconv.Quote(n.ID))
}

// Touched says for which relayers SourcesFor, AssignedTo or what is said of their namespaces may answer
// something else than in an earlier state; all: for every one. It takes the time of going over the maps that
// differ, and not of what it would take to ask for each relayer.
func (s *State) Touched(before *State) (relayers map[string]bool, all bool) {
	if before == nil || !same(s.Hubs, before.Hubs) || !same(s.Plugins, before.Plugins) {
		return nil, true
	}
	touched := map[string]bool{}
	now, then := s.lookup(), before.lookup()
	if now != then {
		if !sameGeneral(now.general, then.general) {
			return nil, true
		}
		differ(now.explicit, then.explicit, slices.Equal, func(id string) { touched[id] = true })
	}
	differ(s.Relayers, before.Relayers, equal, func(id string) { touched[id] = true })
	differ(s.Namespaces, before.Namespaces, equal, func(name string) {
		for _, state := range []*State{s, before} {
			if ns := state.Namespaces[name]; ns != nil {
				state.eachReceiver(ns, func(id string) { touched[id] = true })
			}
		}
	})
	if len(touched) == 0 {
		return touched, false
	}
	for id, r := range s.Relayers { // these stream from the others
		if touched[r.Upstream] {
			touched[id] = true
		}
	}
	return touched, false
}

// Receivers are the relayers that are given a namespace, sorted.
func (s *State) Receivers(namespace string) []string {
	var ids []string
	if ns := s.Namespaces[namespace]; ns != nil {
		s.eachReceiver(ns, func(id string) { ids = append(ids, id) })
	}
	slices.Sort(ids)
	return ids
}

func (s *State) eachReceiver(ns *Namespace, do func(id string)) {
	for id, r := range s.Relayers {
		if s.gets(r, ns) {
			do(id)
		}
	}
}

func equal[V any](a, b *V) bool { return a == b }

// differ tells the keys of which two maps hold something else. Maps that are one
// and the same cost nothing.
func differ[V any](a, b map[string]V, equal func(a, b V) bool, tell func(key string)) {
	if sameMap(a, b) {
		return
	}
	for key, v := range a {
		if w, ok := b[key]; !ok || !equal(v, w) {
			tell(key)
		}
	}
	for key := range b {
		if _, ok := a[key]; !ok {
			tell(key)
		}
	}
}

func same[V any](a, b map[string]*V) bool {
	is := true
	differ(a, b, equal, func(string) { is = false })
	return is
}

func sameGeneral(a, b map[string][]*Assignment) bool {
	is := true
	differ(a, b, slices.Equal, func(string) { is = false })
	return is
}
