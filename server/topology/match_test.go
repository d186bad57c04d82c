package topology

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHubsOf(t *testing.T) {
	s := then(t, world(t), SetNamespace{Name: "open", Settings: Settings{Replicate: &Replicate{Hubs: []string{"f*"}}}})
	for name, want := range map[string][]string{
		"orders": {"a", "b"}, "open": {"b", "far"}, "insights": {"a"}, "none": nil,
	} {
		if got := s.HubsOf(name); !cmp.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

func TestAssignedTo(t *testing.T) {
	s := then(t, world(t),
		Assign{Assignment{Namespace: "insights", Relayer: "*"}},
		SetNamespace{Name: "orders", Settings: Settings{Replicate: &Replicate{Relayers: []string{"edge-?"}, Selector: map[string]string{"region": "us"}}}},
	)
	for id, want := range map[string][]string{
		"edge-1": {"open", "orders"}, // it owns insights
		"edge-2": {"insights", "open", "orders"},
		"edge-3": {"insights", "orders"},
		"edge-9": nil, // drains since before
		"nobody": nil,
	} {
		for _, state := range []*State{s, rebuilt(s)} {
			if got := state.AssignedTo(id); !cmp.Equal(got, want) {
				t.Errorf("%s: %v, want %v", id, got, want)
			}
		}
	}
	if got := s.Receivers("orders"); !cmp.Equal(got, []string{"edge-1", "edge-2", "edge-3"}) {
		t.Errorf("orders goes to %v", got)
	}
}

// TestDraining: who drains keeps what it has, gets nothing new, and nobody follows it.
func TestDraining(t *testing.T) {
	s := then(t, world(t), Assign{Assignment{Namespace: "orders", Relayer: "edge-1"}}, DrainRelayer{"edge-1", true})
	if got := s.SourcesFor("edge-2", "orders", "b"); got[0].Node != "b" {
		t.Errorf("edge-2 streams from %v", got)
	}
	s = then(t, s, Assign{Assignment{Namespace: "insights", Relayer: "edge-*"}}, Assign{Assignment{Namespace: "orders", Relayer: "edge-*"}},
		CreateNamespace{Name: "new", Lineage: lin(20), Owner: hubNode("a"), Created: day}, Assign{Assignment{Namespace: "new", Relayer: "edge-*"}})
	if got := s.AssignedTo("edge-1"); !cmp.Equal(got, []string{"open", "orders"}) {
		t.Errorf("while it drains: %v", got)
	}
	s = then(t, s, Unassign{Assignment{Namespace: "orders", Relayer: "edge-*"}}, Unassign{Assignment{Namespace: "orders", Relayer: "edge-1"}})
	if got := s.AssignedTo("edge-1"); !cmp.Equal(got, []string{"open"}) {
		t.Errorf("taken away while it drains: %v", got)
	}
	s = then(t, s, DrainRelayer{"edge-1", false})
	if got := s.AssignedTo("edge-1"); !cmp.Equal(got, []string{"new", "open"}) {
		t.Errorf("after it: %v", got)
	}
	if got := s.SourcesFor("edge-2", "new", "b"); got[0].Node != "edge-1" {
		t.Errorf("edge-2 streams from %v", got)
	}
}

func TestSourcesFor(t *testing.T) {
	s := then(t, world(t), Assign{Assignment{Namespace: "insights", Relayer: "edge-2"}}, SetUpstream{"edge-3", "far"},
		SetNamespace{Name: "open", Settings: Settings{Replicate: &Replicate{Hubs: []string{"*"}}}})
	for _, c := range []struct {
		relayer, namespace, attended string
		want                         []string
	}{
		{"edge-2", "open", "a", []string{"edge-1", "a", "b", "far"}}, // its upstream has it, then the hub that it attends, then the owner
		{"edge-2", "orders", "far", []string{"a", "b"}},              // neither its upstream nor its hub has it
		{"edge-2", "orders", "b", []string{"b", "a"}},
		{"edge-3", "open", "a", []string{"far", "a", "b"}}, // a hub as its upstream
		{"edge-3", "orders", "", []string{"a", "b"}},
		{"edge-2", "insights", "b", []string{"a"}}, // its upstream owns it, and it comes by way of a hub
		{"edge-1", "insights", "a", nil},           // its own
		{"edge-2", "none", "a", nil},
		{"nobody", "open", "a", nil},
	} {
		var got []string
		for _, src := range s.SourcesFor(c.relayer, c.namespace, c.attended) {
			got = append(got, src.Node)
			if src.Address != src.Node+":4001" {
				t.Errorf("%s is at %s", src.Node, src.Address)
			}
		}
		if !cmp.Equal(got, c.want) {
			t.Errorf("%s of %s at %s: %v, want %v", c.namespace, c.relayer, c.attended, got, c.want)
		}
	}
}

func TestMayFollow(t *testing.T) {
	s := then(t, world(t),
		CreateNamespace{Name: "closed", Lineage: lin(20), Owner: hubNode("a"), Created: day, Settings: Settings{Replicate: &Replicate{Relayers: []string{"edge-1"}, Hubs: []string{"b"}, Selector: map[string]string{"region": "us"}}}},
		CreateNamespace{Name: "edges", Lineage: lin(21), Owner: relayerNode("edge-3"), Created: day, Settings: Settings{Replicate: &Replicate{}}}, SetVia{"edges", "b"})
	for _, c := range []struct {
		node      Node
		labels    map[string]string
		namespace string
		code      string
	}{
		{relayerNode("anybody"), nil, "open", ""},
		{hubNode("anybody"), nil, "open", ""},
		{relayerNode("edge-1"), nil, "closed", ""},
		{relayerNode("edge-3"), nil, "closed", ""}, // by its label
		{relayerNode("edge-3"), map[string]string{"region": "eu"}, "closed", ""},
		{relayerNode("edge-2"), map[string]string{"region": "us"}, "closed", CodeNotFollowable}, // it says so, and the state knows better
		{relayerNode("new"), map[string]string{"region": "us"}, "closed", ""},
		{relayerNode("new"), nil, "closed", CodeNotFollowable},
		{relayerNode("b"), nil, "closed", CodeNotFollowable}, // a relayer with a hub's name
		{hubNode("b"), nil, "closed", ""},
		{hubNode("a"), nil, "closed", ""},
		{hubNode("far"), nil, "closed", CodeNotFollowable},
		{hubNode("edge-1"), nil, "closed", CodeNotFollowable},
		{relayerNode("edge-2"), nil, "orders", ""}, // by assignment
		{relayerNode("edge-1"), nil, "orders", CodeNotFollowable},
		{relayerNode("edge-3"), nil, "edges", ""},
		{hubNode("b"), nil, "edges", ""},
		{hubNode("a"), nil, "edges", CodeNotFollowable},
		{hubNode("a"), nil, "none", CodeNamespaceNotFound},
	} {
		for _, state := range []*State{s, rebuilt(s)} {
			if err := state.MayFollow(c.node, c.labels, c.namespace); CodeOf(err) != c.code || (err != nil) != (c.code != "") {
				t.Errorf("%v of %s: %v, want %q", c.node, c.namespace, err, c.code)
			}
		}
	}
}

func TestAssignmentKey(t *testing.T) {
	a := Assignment{Namespace: "n", Selector: map[string]string{"b": "2", "a": "1"}}
	if a.Key() != (Assignment{Namespace: "n", Selector: map[string]string{"a": "1", "b": "2"}}).Key() {
		t.Error("equal ones differ")
	}
	seen := map[string]Assignment{}
	for _, a := range []Assignment{a, {Namespace: "n"}, {Namespace: "n", Relayer: "a"}, {Namespace: "n", Selector: map[string]string{"a": "1"}}, {Namespace: "na"}, {Namespace: "n", Relayer: "a", Selector: map[string]string{"a": "1"}}} {
		if b, ok := seen[a.Key()]; ok {
			t.Errorf("%+v and %+v have the key %s", a, b, a.Key())
		}
		seen[a.Key()] = a
	}
}

// view is all that a relayer is told because of the state.
func view(s *State, id string) string {
	v := fmt.Sprint(s.Relayers[id])
	for _, name := range s.AssignedTo(id) {
		ns := s.Namespaces[name]
		v += fmt.Sprint(" ", name, ns.Lineage, ns.Owner, s.SourcesFor(id, name, "a"))
	}
	return v
}

// TestTouched: whoever is to be told something else is named.
func TestTouched(t *testing.T) {
	for _, seed := range seedsOf(12) {
		s := world(t)
		g := newGenerator(seed)
		named := 0
		for range 60 {
			next, _ := s.apply(s.Index+1, g.command(s))
			ids, all := next.Touched(s)
			if !all {
				named++
			}
			everybody := slices.Concat(slices.Collect(maps.Keys(s.Relayers)), slices.Collect(maps.Keys(next.Relayers)))
			for _, id := range everybody {
				if a, b := view(s, id), view(next, id); a != b && !all && !ids[id] {
					t.Fatalf("seed %d, index %d: %s isn't told\n%s\n%s", seed, next.Index, id, a, b)
				}
			}
			s = next
		}
		if named == 0 {
			t.Errorf("seed %d: everybody is touched by everything", seed)
		}
	}
}
