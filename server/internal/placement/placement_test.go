package placement

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/unisondb/unisondb/dbkernel"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
	"github.com/unisondb/unisondb/server/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func hub(id string) topology.Node     { return topology.Node{Kind: topology.KindHub, ID: id} }
func relayer(id string) topology.Node { return topology.Node{Kind: topology.KindRelayer, ID: id} }

// state is a group of three hubs.
func state() *topology.State {
	s := topology.NewState()
	for _, id := range []string{"a", "b", "c"} {
		s.Hubs[id] = &topology.Hub{ID: id, GRPC: id + ":4001"}
	}
	all := &topology.Replicate{Hubs: []string{"*"}}
	s.Namespaces["of-a"] = &topology.Namespace{Name: "of-a", Lineage: "1", Owner: hub("a"), Settings: topology.Settings{MaxBytes: 7}}
	s.Namespaces["of-b"] = &topology.Namespace{Name: "of-b", Lineage: "2", Owner: hub("b"), Settings: topology.Settings{Replicate: all}}
	s.Namespaces["of-edge"] = &topology.Namespace{Name: "of-edge", Lineage: "3", Owner: relayer("edge"), Via: "c"}
	return s
}

func TestForHub(t *testing.T) {
	none := func(string) bool { return false }
	s := state()
	want := map[string]map[string]Want{
		"a": {
			"of-a":    {Role: Own, Lineage: "1", Owner: hub("a"), Quota: dbkernel.Quota{MaxBytes: 7}},
			"of-b":    {Role: Follow, Lineage: "2", Owner: hub("b"), Sources: []topology.Source{{Node: "b", Address: "b:4001"}}},
			"of-edge": {Lineage: "3", Owner: relayer("edge")},
		},
		"c": {
			"of-a":    {Lineage: "1", Owner: hub("a")},
			"of-b":    {Role: Follow, Lineage: "2", Owner: hub("b"), Sources: []topology.Source{{Node: "b", Address: "b:4001"}, {Node: "a", Address: "a:4001"}}},
			"of-edge": {Role: Receive, Lineage: "3", Owner: relayer("edge")},
		},
	}
	for id, want := range want {
		if got := ForHub(s, id, none); !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n%+v, want\n%+v", id, got, want)
		}
	}
	// A hub that the edge has gone away from keeps its copy.
	has := func(name string) bool { return name == "of-edge" }
	if w := ForHub(s, "a", has)["of-edge"]; w.Role != Follow || !slices.Equal(w.Sources, []topology.Source{{Node: "c", Address: "c:4001"}}) {
		t.Errorf("%+v", w)
	}
}

// TestNoHubsFollowEachOther: whoever follows whom, the owner is at the end of it.
func TestNoHubsFollowEachOther(t *testing.T) {
	s := state()
	for _, id := range slices.Sorted(maps.Keys(s.Hubs)) {
		for _, source := range ForHub(s, id, func(string) bool { return false })["of-b"].Sources {
			if source.Node != "b" && source.Node >= id {
				t.Errorf("%s follows %s", id, source.Node)
			}
		}
	}
}

func TestDeleted(t *testing.T) {
	s := state()
	at := time.Unix(1000, 0)
	s.Deleted["0"] = &topology.Namespace{Name: "of-a", Lineage: "0", Owner: hub("a"), Deleted: at, Grace: time.Hour}
	s.Deleted["9"] = &topology.Namespace{Name: "gone", Lineage: "9", Owner: hub("b"), Deleted: at}
	s.Deleted["8"] = &topology.Namespace{Name: "of-b", Lineage: "8", Owner: hub("b"), Deleted: at, Replaced: true}
	got := ForHub(s, "a", func(string) bool { return false })
	if w := got["of-a"]; w.Role != Own || !w.Gone["0"].Equal(at.Add(time.Hour)) {
		t.Errorf("%+v", w)
	}
	if w := got["gone"]; w.Role != None || !w.Gone["9"].Equal(at) {
		t.Errorf("%+v", w)
	}
	if w := got["of-b"]; w.Gone != nil {
		t.Errorf("what its owner has lost isn't kept by the others: %+v", w)
	}
}

func TestForRelayer(t *testing.T) {
	a := &dbv1.Assignment{Namespaces: []*dbv1.AssignedNamespace{
		{Name: "here", Lineage: "1", Sources: []*dbv1.StreamSource{{NodeId: "a", Address: "a:4001"}},
			Deleted: []*dbv1.DeletedLineage{{Lineage: "0", UntilUnixMs: 5}}},
		{Name: "named", Lineage: "2"},
	}}
	got := ForRelayer(a, []string{"here", "before", "named"}, func(name string) bool { return name == "named" })
	want := map[string]Want{
		"here": {Role: Follow, Lineage: "1", Sources: []topology.Source{{Node: "a", Address: "a:4001"}},
			Gone: map[string]time.Time{"0": time.UnixMilli(5)}},
		"before": {},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
}

// placer notes what it is asked for, and fails where it is told to.
type placer struct {
	mu    sync.Mutex
	calls map[string][]Role
	fails map[string]int
	block map[string]chan struct{}
}

func newPlacer() *placer {
	return &placer{calls: map[string][]Role{}, fails: map[string]int{}, block: map[string]chan struct{}{}}
}

func (p *placer) Place(ctx context.Context, name string, w Want) error {
	p.mu.Lock()
	p.calls[name] = append(p.calls[name], w.Role)
	p.fails[name]--
	fails, block := p.fails[name] >= 0, p.block[name]
	p.mu.Unlock()
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if fails {
		return errors.New("it can't be done")
	}
	return nil
}

func (p *placer) seen(name string) []Role {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.calls[name])
}

// TestReconciler: each namespace is placed once for each thing that is wanted of it, again where
// that failed, and none waits for another.
func TestReconciler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlacer()
		p.fails["bad"], p.block["slow"] = 3, make(chan struct{})
		r := New(p, hclog.NewNullLogger())
		defer r.Close()
		r.Want(map[string]Want{"good": {Role: Own}, "bad": {Role: Follow}, "slow": {Role: Own}})
		synctest.Wait()
		if got := p.seen("good"); len(got) != 1 || r.Problem("bad") == nil || r.Problems() != 1 || r.Problem("good") != nil {
			t.Errorf("%v, %v", got, r.Problem("bad"))
		}
		time.Sleep(time.Minute)
		if got := p.seen("bad"); len(got) != 4 || r.Problem("bad") != nil {
			t.Errorf("%v, %v", got, r.Problem("bad"))
		}
		// What is wanted meanwhile of one that is busy is done behind that.
		r.Want(map[string]Want{"good": {Role: Own}, "slow": {Role: None}})
		if settled, _ := r.Settled(); settled {
			t.Error("settled, and one is under way")
		}
		close(p.block["slow"])
		synctest.Wait()
		if got := p.seen("slow"); !slices.Equal(got, []Role{Own, None}) {
			t.Errorf("slow: %v", got)
		}
		if settled, _ := r.Settled(); !settled || len(p.seen("good")) != 1 {
			t.Errorf("settled %v, good %v", settled, p.seen("good"))
		}
		r.Again("good")
		synctest.Wait()
		if got := p.seen("good"); len(got) != 2 {
			t.Errorf("good: %v", got)
		}
	})
}

// TestReconcilerManyNamespaces: all are placed, a few at a time.
func TestReconcilerManyNamespaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlacer()
		r := New(p, hclog.NewNullLogger())
		defer r.Close()
		wanted := map[string]Want{}
		for i := range 1000 {
			wanted[string(rune('a'+i%26))+time.Duration(i).String()] = Want{Role: Follow}
		}
		r.Want(wanted)
		synctest.Wait()
		for name := range wanted {
			if got := p.seen(name); len(got) != 1 {
				t.Errorf("%s was placed %d times", name, len(got))
			}
		}
	})
}

func TestCloseEndsWhatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlacer()
		p.block["slow"], p.fails["bad"] = make(chan struct{}), 1000
		r := New(p, hclog.NewNullLogger())
		r.Want(map[string]Want{"slow": {Role: Own}, "bad": {Role: Own}})
		synctest.Wait()
		r.Close()
		before := len(p.seen("bad"))
		time.Sleep(time.Hour)
		r.Want(map[string]Want{"more": {Role: Own}})
		synctest.Wait()
		if len(p.seen("bad")) != before || len(p.seen("more")) != 0 {
			t.Error("something is placed behind the end")
		}
	})
}
