package control

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
	"github.com/unisondb/unisondb/server/topology"
)

// observing is a hub that others ask.
type observing struct {
	dbv1.HubsClient
	answer func(context.Context, *dbv1.ObserveRequest) (*dbv1.ObserveResponse, error)
}

func (o observing) Observe(ctx context.Context, r *dbv1.ObserveRequest, _ ...grpc.CallOption) (*dbv1.ObserveResponse, error) {
	return o.answer(ctx, r)
}

type peers map[string]func(context.Context, *dbv1.ObserveRequest) (*dbv1.ObserveResponse, error)

func (p peers) Hubs(address string) (dbv1.HubsClient, error) {
	if p[address] == nil {
		return nil, errors.New("no address")
	}
	return observing{answer: p[address]}, nil
}

// TestOverview: what all hubs see is put together, and those that don't answer are named.
func TestOverview(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		group := &moody{Group: newGroup(t, "a")}
		for _, id := range []string{"b", "hangs", "hangs-too", "old", "wrong", "nowhere"} {
			address := id + ":4001"
			if id == "nowhere" {
				address = ""
			}
			if _, err := group.Propose(within(t), topology.SetHub{Hub: topology.Hub{ID: id, Instance: id, Raft: id + ":4002", GRPC: address, ReadsUpTo: 1000}}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := group.Propose(within(t), topology.SetRelayer{Relayer: topology.Relayer{ID: "edge-1", Instance: "i"}}); err != nil {
			t.Fatal(err)
		}
		for name, owner := range map[string]topology.Node{"orders": {Kind: topology.KindHub, ID: "b"}, "insights": {Kind: topology.KindRelayer, ID: "edge-1"}, "lost": {Kind: topology.KindHub, ID: "hangs"}} {
			if _, err := group.Propose(within(t), topology.EnsureNamespace{Name: name, Lineage: lineage(name), Owner: owner, Created: time.Unix(1, 0)}); err != nil {
				t.Fatal(err)
			}
		}
		reports := func(lsn uint64, names ...string) (all []*dbv1.NamespaceReport) {
			for _, name := range names {
				all = append(all, &dbv1.NamespaceReport{Name: name, Lsn: lsn})
			}
			return all
		}
		session := func(since int64, lsn uint64) *dbv1.RelayerSession {
			return &dbv1.RelayerSession{NodeId: "edge-1", SinceUnixMs: since, Namespaces: reports(lsn, "insights", "orders")}
		}
		var asked string // of b
		v := NewViewer(ViewerOptions{
			NodeID: "a", Group: group,
			Observe: func(context.Context, *dbv1.ObserveRequest) (*dbv1.ObserveResponse, error) {
				return &dbv1.ObserveResponse{
					NodeId: "a", AppliedIndex: 3, Relayers: []*dbv1.RelayerSession{session(1, 5)}, Namespaces: reports(8, "orders"),
					Members: []*dbv1.MemberHealth{{Id: "b", Healthy: true}},
				}, nil
			},
			Peers: peers{
				"b:4001": func(_ context.Context, r *dbv1.ObserveRequest) (*dbv1.ObserveResponse, error) {
					asked = r.GetNamespace()
					return &dbv1.ObserveResponse{NodeId: "b", AppliedIndex: 2, Relayers: []*dbv1.RelayerSession{session(2, 7)}, Namespaces: reports(9, "orders")}, nil
				},
				"hangs:4001": func(ctx context.Context, _ *dbv1.ObserveRequest) (*dbv1.ObserveResponse, error) {
					<-ctx.Done()
					return nil, ctx.Err()
				},
				"hangs-too:4001": func(ctx context.Context, _ *dbv1.ObserveRequest) (*dbv1.ObserveResponse, error) {
					<-ctx.Done()
					return nil, ctx.Err()
				},
				"old:4001": func(context.Context, *dbv1.ObserveRequest) (*dbv1.ObserveResponse, error) {
					return nil, status.Error(codes.Unimplemented, "")
				},
				"wrong:4001": func(context.Context, *dbv1.ObserveRequest) (*dbv1.ObserveResponse, error) {
					return &dbv1.ObserveResponse{NodeId: "b"}, nil
				},
			},
		})
		began := time.Now()
		o, err := v.Overview(t.Context(), Query{})
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != ObserveTimeout {
			t.Errorf("it took %v: hubs aren't asked at once", took)
		}
		if got := o.Silent(); !slices.Equal(got, []string{"hangs", "hangs-too", "nowhere", "old", "wrong"}) {
			t.Errorf("silent are %q", got)
		}
		for hub, says := range map[string]string{"hangs": "within 2s", "old": "upgrade it", "wrong": `hub "b" answers at its address`, "nowhere": "set advertise"} {
			if got := o.Hubs[hub].Problem; !strings.Contains(got, says) {
				t.Errorf("%s: %q", hub, got)
			}
		}
		if got := o.Sessions["edge-1"]; got.Hub != "b" || got.Namespaces["orders"].GetLsn() != 7 {
			t.Errorf("the newer session is %+v", got)
		}
		if o.OfOwner("orders").GetLsn() != 9 || o.OfOwner("insights").GetLsn() != 7 || o.OfOwner("lost") != nil || o.OfOwner("none") != nil {
			t.Error("the owners say something else")
		}
		if o.OnNode(topology.Node{Kind: topology.KindHub, ID: "a"}, "orders").GetLsn() != 8 || o.OnNode(topology.Node{Kind: topology.KindHub, ID: "none"}, "orders") != nil {
			t.Error("the nodes say something else")
		}
		if o.Leader != "a" || !o.Members["b"].GetHealthy() || o.Hubs["b"].AppliedIndex != 2 {
			t.Errorf("leader %q, members %v", o.Leader, o.Members)
		}
		group.leaderless.Store(true)
		if _, err := v.Overview(t.Context(), Query{}); !errors.Is(err, errNoLeader) {
			t.Errorf("without a leader: %v", err)
		}
		if o, err := v.Overview(t.Context(), Query{Stale: true, Namespace: "orders"}); err != nil || len(o.Sessions) != 1 || asked != "orders" {
			t.Errorf("a stale one of a namespace without a leader: %v; asked for %q", err, asked)
		}
	})
}
