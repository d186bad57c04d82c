package control

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
	"github.com/unisondb/unisondb/server/topology"
)

// TestRelayersConverge: whatever operators do, connections break and hubs stop, each relayer ends with what
// the newest state gives it, and hears of nothing twice in a row.
func TestRelayersConverge(t *testing.T) {
	seeds, first := 3, uint64(1)
	if s := os.Getenv("SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seeds, first = 1, n
	} else if os.Getenv("DURATION") != "" {
		seeds = 500
	}
	for seed := first; seed < first+uint64(seeds); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { converge(t, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
}

func converge(t *testing.T, rng *rand.Rand) {
	const relayers, namespaces, steps = 5, 6, 120
	n, group := newNetwork(), newGroup(t, "hub-a")
	a, b := serve(t, n, "hub-a", group, nil), serve(t, n, "hub-b", group, nil)
	a.propose(t, topology.SetHub{Hub: topology.Hub{ID: "hub-b", Instance: "b", Raft: "hub-b:4002", GRPC: b.address, ReadsUpTo: 1000}})
	hubs := []*testHub{a, b}
	var edges []*edge
	for i := range relayers {
		id := fmt.Sprintf("edge-%d", i)
		edges = append(edges, attending(t, n, id, t.TempDir(), []string{a.address, b.address}, func(o *AttendanceOptions) {
			o.Hello = func() *dbv1.RelayerHello {
				h := hello(id)
				h.Advertise = id + ":4001"
				h.Labels = map[string]string{"tier": fmt.Sprint(i % 2)}
				return h
			}
		}))
	}
	for _, e := range edges {
		eventually(t, "all have joined", func() bool { return e.Status().Connected })
	}
	propose := func(c topology.Command) { _, _ = group.Propose(within(t), c) } // a refusal is as good as anything
	name := func() string { return fmt.Sprintf("ns-%d", rng.IntN(namespaces)) }
	relayer := func() string { return fmt.Sprintf("edge-%d", rng.IntN(relayers)) }
	to := func() topology.Assignment {
		switch rng.IntN(4) {
		case 0:
			return topology.Assignment{Namespace: name(), Selector: map[string]string{"tier": fmt.Sprint(rng.IntN(2))}}
		case 1:
			return topology.Assignment{Namespace: name(), Relayer: "edge-*"}
		}
		return topology.Assignment{Namespace: name(), Relayer: relayer()}
	}
	for range steps {
		switch rng.IntN(16) {
		case 0, 1:
			propose(topology.CreateNamespace{
				Name: name(), Lineage: fmt.Sprintf("%016x%016x", rng.Uint64(), rng.Uint64()|1), Replace: rng.IntN(4) == 0,
				Owner: topology.Node{Kind: topology.KindHub, ID: hubs[rng.IntN(2)].id}, Created: time.Unix(1, 0),
			})
		case 2:
			propose(topology.DeleteNamespace{Name: name(), At: time.Unix(1, 0)})
		case 3:
			settings := topology.Settings{}
			if rng.IntN(2) == 0 {
				settings.Replicate = &topology.Replicate{Relayers: []string{relayer()}, Hubs: []string{"*"}}
			}
			propose(topology.SetNamespace{Name: name(), Settings: settings})
		case 4:
			propose(topology.SetUpstream{Relayer: relayer(), Upstream: []string{"", relayer(), "hub-b"}[rng.IntN(3)]})
		case 5:
			propose(topology.DrainRelayer{ID: relayer(), Draining: rng.IntN(2) == 0})
		case 6:
			propose(topology.RegisterPlugin{Plugin: topology.Plugin{
				Name: "hook", Kind: "notifier", Type: "webhook", Namespaces: []string{name()}, Config: map[string]any{"url": fmt.Sprint(rng.IntN(9))},
			}})
		case 7:
			n.sever(hubs[rng.IntN(2)].address, rng.IntN(2) == 0)
		case 8:
			n.sever(a.address, false)
			n.sever(b.address, false)
		case 9:
			time.Sleep(time.Duration(rng.Int64N(int64(20 * time.Second))))
		case 10, 11, 12:
			propose(topology.Unassign{Assignment: to()})
		default:
			propose(topology.Assign{Assignment: to()})
		}
		if rng.IntN(3) == 0 {
			synctest.Wait()
		}
	}
	n.sever(a.address, false)
	n.sever(b.address, false)
	for i, e := range edges {
		id := fmt.Sprintf("edge-%d", i)
		var want *dbv1.Assignment
		eventually(t, id+" has what the newest state gives it", func() bool {
			s := e.Status()
			want, _, _ = assignmentOf(group.State(), id, s.Hub, nil)
			want.Index = e.Assignment().GetIndex()
			return s.Connected && proto.Equal(e.Assignment(), want)
		})
		e.mu.Lock()
		for j := 1; j < len(e.heard); j++ {
			before, now := proto.CloneOf(e.heard[j-1]), proto.CloneOf(e.heard[j])
			if before.Index > now.Index { // of one state two hubs may say something else
				t.Errorf("%s hears of index %d after %d", id, now.Index, before.Index)
			}
			if before.Index = now.Index; proto.Equal(before, now) {
				t.Errorf("%s hears the same again at index %d", id, now.Index)
			}
		}
		e.mu.Unlock()
		if t.Failed() {
			t.Log(cmp.Diff(want, e.Assignment(), protocmp.Transform()))
		}
	}
}
