package topology

import (
	"fmt"
	"io"
	"runtime"
	"testing"
)

// fleet is a state of so many namespaces and relayers, each of which has so many assignments of
// its own, and some by labels.
func fleet(t testing.TB, namespaces, relayers, each int) *State {
	t.Helper()
	s := then(t, NewState(), Begin{lin(1)})
	for _, id := range []string{"a", "b", "c"} {
		s = then(t, s, SetHub{Hub{ID: id, Instance: "i", GRPC: id + ".example.com:4001", Voter: true}})
	}
	for i := range relayers {
		s = then(t, s, SetRelayer{Relayer: Relayer{
			ID: fmt.Sprint("edge-", i), Instance: lin(i), Advertise: fmt.Sprintf("edge-%d.example.com:4001", i),
			Labels: map[string]string{"region": fmt.Sprint("r", i%10)},
		}})
	}
	for i := range namespaces {
		c := CreateNamespace{Name: fmt.Sprint("ns-", i), Lineage: lin(i + 1), Owner: hubNode([]string{"a", "b", "c"}[i%3]), Created: day}
		if i%10 == 0 {
			c.Settings.Replicate = &Replicate{Hubs: []string{"*"}, Relayers: []string{fmt.Sprintf("edge-%d*", i%100)}}
		}
		s = then(t, s, c)
		if i%10 == 1 {
			s = then(t, s, Assign{Assignment{Namespace: c.Name, Selector: map[string]string{"region": fmt.Sprint("r", i/10%10)}}})
		}
	}
	for i := range relayers {
		for j := range each {
			s = then(t, s, Assign{Assignment{Namespace: fmt.Sprint("ns-", (i+j*37)%namespaces), Relayer: fmt.Sprint("edge-", i)}})
		}
	}
	return s
}

// TestChangesCopyWhatTheyTouch: a change of one map leaves the others to be shared, and of the one
// that it changes all entries but one.
func TestChangesCopyWhatTheyTouch(t *testing.T) {
	s := fleet(t, 20, 20, 2)
	next := then(t, s, Assign{Assignment{Namespace: "ns-7", Relayer: "edge-1"}})
	if !sameMap(s.Relayers, next.Relayers) || !sameMap(s.Namespaces, next.Namespaces) || !sameMap(s.Hubs, next.Hubs) ||
		!sameMap(s.lookup().general, next.lookup().general) || sameMap(s.Assignments, next.Assignments) {
		t.Error("an assignment copies more than the assignments")
	}
	changed := 0
	differ(s.Assignments, next.Assignments, equal, func(string) { changed++ })
	if changed != 1 {
		t.Errorf("%d entries differ", changed)
	}
	if ids, all := next.Touched(s); all || len(ids) != 1 || !ids["edge-1"] {
		t.Errorf("touched: %v, %v", ids, all)
	}
	same := then(t, next, Assign{Assignment{Namespace: "ns-7", Relayer: "edge-1"}}, SetRelayer{Relayer: *next.Relayers["edge-3"]}, SetHub{*next.Hubs["a"]})
	if !sameMap(same.Assignments, next.Assignments) || !sameMap(same.Relayers, next.Relayers) || !sameMap(same.Hubs, next.Hubs) {
		t.Error("what changes nothing copies")
	}
}

// BenchmarkFleet prints what changes, questions and snapshots cost with 1,000 namespaces and 1,000
// relayers, once with ten assignments for each and once with a hundred.
func BenchmarkFleet(b *testing.B) {
	for _, each := range []int{10, 100} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		s := fleet(b, 1000, 1000, each)
		runtime.GC()
		runtime.ReadMemStats(&after)
		size := len(snapshotOf(b, s))
		name := fmt.Sprintf("assignments=%d/", len(s.Assignments))
		assignment := func(i int) Assignment {
			return Assignment{Namespace: fmt.Sprint("ns-", i%999), Relayer: fmt.Sprint("edge-", i%1000)}
		}
		b.Run(name+"assign", func(b *testing.B) {
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "MB-state")
			b.ReportMetric(float64(size)/1e6, "MB-snapshot")
			b.ReportAllocs()
			now := s
			for i := range b.N {
				var c Command = Assign{assignment(i)}
				if i%2 == 1 {
					c = Unassign{assignment(i - 1)}
				}
				entry, err := Encode(c)
				if err != nil {
					b.Fatal(err)
				}
				if now, _, err = now.applyEntry(now.Index+1, entry); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"touched", func(b *testing.B) {
			next, _ := s.apply(s.Index+1, Assign{Assignment{Namespace: "ns-1", Relayer: "edge-500"}})
			for range b.N {
				next.Touched(s)
			}
		})
		b.Run(name+"assigned-to", func(b *testing.B) {
			for i := range b.N {
				s.AssignedTo(fmt.Sprint("edge-", i%1000))
			}
		})
		b.Run(name+"snapshot", func(b *testing.B) {
			for range b.N {
				_ = s.writeSnapshot(io.Discard, "1")
			}
		})
	}
}
