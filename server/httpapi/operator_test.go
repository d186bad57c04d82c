package httpapi_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
	"github.com/unisondb/unisondb/server/httpapi"
	"github.com/unisondb/unisondb/server/internal/control"
	"github.com/unisondb/unisondb/server/topology"
)

// fakeGroup is a group of two hubs that agrees to everything and changes nothing, unless it
// is told to.
type fakeGroup struct {
	mu        sync.Mutex
	state     *topology.State
	freshness topology.Freshness
	refuse    error // of what changes something
	syncErr   error
	proposed  []topology.Command
	removed   []string
	led       []string
	restored  []string // contents, with whether they were forced
	saveErr   error
	// onPropose runs for each command, which may change the state or the overview.
	onPropose func(topology.Command)
	overview  *control.Overview
	views     []bool // whether each was stale
}

var seenAt = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

const (
	ordersLineage = "00112233445566778899aabbccddeeff"
	groupID       = "ffeeddccbbaa99887766554433221100"
)

func newFakeGroup() *fakeGroup {
	hubs := map[string]*topology.Hub{
		"hub-a": {ID: "hub-a", Instance: "ia", Raft: "10.0.0.1:4002", GRPC: "10.0.0.1:4001", Version: "1", Region: "eu", Voter: true, ReadsUpTo: 20},
		"hub-b": {ID: "hub-b", Instance: "ib", Raft: "10.0.0.2:4002", GRPC: "10.0.0.2:4001", Version: "1", Voter: true, ReadsUpTo: 20},
	}
	s := &topology.State{
		Cluster: groupID, Index: 7, Hubs: hubs,
		Namespaces: map[string]*topology.Namespace{"orders": {
			Name: "orders", Lineage: ordersLineage, Owner: topology.Node{Kind: topology.KindHub, ID: "hub-a"}, Term: 1,
			Settings: topology.Settings{Acks: "local", MaxBytes: 10, Replicate: &topology.Replicate{Hubs: []string{"hub-b"}, Relayers: []string{"edge-*"}}},
		}},
		Relayers: map[string]*topology.Relayer{
			"edge-1": {ID: "edge-1", Instance: "e1", Labels: map[string]string{"region": "eu"}, Advertise: "10.0.1.1:4001"},
			"edge-2": {ID: "edge-2", Instance: "e2", Upstream: "edge-1"},
		},
		Assignments: map[string]*topology.Assignment{},
		Plugins: map[string]*topology.Plugin{"hooks": {
			Name: "hooks", Kind: "notifier", Type: "webhook", Namespaces: []string{"orders"}, Config: map[string]any{"secret": "hidden"}, Options: map[string]any{"max_delay": "20ms"},
		}},
		Tokens: map[string]*topology.Token{
			"t1": {ID: "t1", SHA256: "hash", Expires: seenAt.Add(time.Hour), Uses: 2, Relayer: "edge-*"},
			"t2": {ID: "t2", SHA256: "hash", Expires: seenAt, Uses: 2},
			"t3": {ID: "t3", SHA256: "hash", Expires: seenAt.Add(time.Hour)},
		},
	}
	report := func(lsn uint64, role string) *dbv1.NamespaceReport {
		return &dbv1.NamespaceReport{Name: "orders", Role: role, State: "serving", Lineage: ordersLineage, Epoch: 3, Lsn: lsn}
	}
	behind := report(8, "replica")
	behind.LagKnown, behind.LagRecords, behind.LagSeconds, behind.Upstream, behind.Connected = true, 1, 0.5, "hub-a", true
	return &fakeGroup{
		state: s, freshness: topology.Freshness{Leader: "hub-b", LastContact: 12*time.Millisecond + 345*time.Microsecond, Applied: 7},
		overview: &control.Overview{
			State: s,
			Hubs: map[string]*control.HubView{
				"hub-a": {Namespaces: map[string]*dbv1.NamespaceReport{"orders": report(9, "owner")}},
				"hub-b": {Problem: "no answer", Namespaces: map[string]*dbv1.NamespaceReport{}},
			},
			Sessions: map[string]control.Session{"edge-1": {
				Hub: "hub-a", RelayerSession: &dbv1.RelayerSession{NodeId: "edge-1", Version: "1"},
				Namespaces: map[string]*dbv1.NamespaceReport{"orders": behind},
			}},
		},
	}
}

func (g *fakeGroup) State() *topology.State { g.mu.Lock(); defer g.mu.Unlock(); return g.state }

func (g *fakeGroup) Watch(ctx context.Context, after uint64) (*topology.State, error) {
	if s := g.State(); s.Index > after {
		return s, nil
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

func (g *fakeGroup) Freshness() topology.Freshness { return g.freshness }

func (g *fakeGroup) Sync(context.Context) (*topology.State, error) { return g.State(), g.syncErr }

func (g *fakeGroup) Propose(_ context.Context, c topology.Command) (uint64, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.proposed = append(g.proposed, c)
	if g.refuse != nil {
		return 0, g.refuse
	}
	if g.onPropose != nil {
		g.onPropose(c)
	}
	next := *g.state
	next.Index++
	g.state = &next
	g.overview.State = g.state
	return next.Index, nil
}

func (g *fakeGroup) Members(context.Context) ([]topology.Member, error) {
	a, b := *g.state.Hubs["hub-a"], *g.state.Hubs["hub-b"]
	return []topology.Member{{Hub: a, Role: topology.Follower, Healthy: false, LastContact: -1}, {Hub: b, Role: topology.Leader, Healthy: true}}, nil
}

func (g *fakeGroup) RemovePeer(_ context.Context, id string) error {
	g.removed = append(g.removed, id)
	return g.refuse
}

func (g *fakeGroup) TransferLeader(_ context.Context, to string) error {
	g.led = append(g.led, to)
	return g.refuse
}

func (g *fakeGroup) SaveSnapshot(_ context.Context, w io.Writer) error {
	if g.saveErr != nil {
		return g.saveErr
	}
	_, err := io.WriteString(w, "snapshot")
	return err
}

func (g *fakeGroup) RestoreSnapshot(_ context.Context, r io.Reader, force bool) error {
	b, err := io.ReadAll(r)
	g.restored = append(g.restored, fmt.Sprintf("%s %v", b, force))
	return errors.Join(err, g.refuse)
}

// Overview is as that of a *control.Viewer.
func (g *fakeGroup) Overview(_ context.Context, q control.Query) (*control.Overview, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.views = append(g.views, q.Stale)
	if !q.Stale && g.syncErr != nil {
		return nil, g.syncErr
	}
	o := *g.overview
	return &o, nil
}

// last is the newest command that was proposed.
func (g *fakeGroup) last(t *testing.T) topology.Command {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.proposed) == 0 {
		t.Fatal("nothing was proposed")
	}
	return g.proposed[len(g.proposed)-1]
}

func (g *fakeGroup) want(t *testing.T, want topology.Command) {
	t.Helper()
	if got := g.last(t); !reflect.DeepEqual(got, want) {
		t.Errorf("proposed %+v, want %+v", got, want)
	}
}

func withGroup(t *testing.T) (*fixture, *fakeGroup) {
	t.Helper()
	g := newFakeGroup()
	return newFixture(t, func(o *fixtureOptions) { o.group = g }), g
}

const (
	ordersShared = `{"name":"orders","owner":"hub-a","epoch":3,"hubs":["hub-a","hub-b"],"acks":"local","lsn":9,"lineage":"` + ordersLineage + `",
		"term":1,"state":"serving","quota":{"max_bytes":10},"replicate":{"relayers":["edge-*"],"hubs":["hub-b"]}}`
	edge1 = `{"id":"edge-1","labels":{"region":"eu"},"upstream":"hub-a","connected":true,"hub":"hub-a","instance":"e1","version":"1","region":"","advertise":"10.0.1.1:4001","draining":false,
		"namespaces":[{"name":"orders","lsn":8,"lag_records":1,"lag_seconds":0.5,"role":"replica","state":"serving","lineage":"` + ordersLineage + `","upstream":"hub-a","connected":true,"assigned":true}]}`
	edge2 = `{"id":"edge-2","labels":{},"upstream":"edge-1","connected":false,"hub":"","instance":"e2","version":"","region":"","advertise":"","draining":false,
		"namespaces":[{"name":"orders","lsn":0,"lag_records":null,"lag_seconds":null,"connected":false,"assigned":true}]}`
	hubA = `{"id":"hub-a","address":"10.0.0.1:4002","grpc_address":"10.0.0.1:4001","instance":"ia","version":"1","region":"eu","voter":true,"leader":false,"connected":true,
		"namespaces":[{"name":"orders","lsn":9,"lag_records":null,"lag_seconds":null,"role":"owner","state":"serving","lineage":"` + ordersLineage + `","connected":false}]}`
	hubB = `{"id":"hub-b","address":"10.0.0.2:4002","grpc_address":"10.0.0.2:4001","instance":"ib","version":"1","region":"","voter":true,"leader":true,"connected":false,"problem":"no answer","namespaces":[]}`
)

func TestRaftRoutes(t *testing.T) {
	f, g := withGroup(t)
	f.do("GET", "!/v1/raft/peers", "").want(200, `[
		{"id":"hub-a","address":"10.0.0.1:4002","role":"follower","healthy":false,"last_contact":"","instance":"ia","version":"1","reads_up_to":20},
		{"id":"hub-b","address":"10.0.0.2:4002","role":"leader","healthy":true,"last_contact":"0s","instance":"ib","version":"1","reads_up_to":20}]`)
	f.do("POST", "!/v1/raft/remove-peer", `{"id":"hub-b"}`).want(200, ok)
	f.do("POST", "!/v1/raft/transfer-leader", "").want(200, ok)
	f.do("POST", "!/v1/raft/transfer-leader", `{"to":"hub-a"}`).want(200, ok)
	if !reflect.DeepEqual(g.removed, []string{"hub-b"}) || !reflect.DeepEqual(g.led, []string{"", "hub-a"}) {
		t.Errorf("removed %q, handed over to %q", g.removed, g.led)
	}
	f.do("POST", "!/v1/raft/remove-peer", `{}`).refused(400, httpapi.CodeBadRequest)
	f.do("POST", "!/v1/raft/remove-peer", `{"hub":"hub-b"}`).refused(400, httpapi.CodeInvalidJSON)
	g.refuse = &topology.Error{Code: topology.CodeLastVoter, Reason: "hub-b is the last one with a vote: add another first"}
	f.do("POST", "!/v1/raft/remove-peer", `{"id":"hub-b"}`).want(409, `{"error":"hub-b is the last one with a vote: add another first","code":"LAST_VOTER"}`)
	f.do("GET", "!/v1/raft", "").refused(404, httpapi.CodeRouteNotFound)
}

func TestSnapshotRoutes(t *testing.T) {
	f, g := withGroup(t)
	got := f.do("GET", "!/v1/snapshot", "")
	if got.status != 200 || string(got.body) != "snapshot" || got.header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("answered %d %q %v", got.status, got.body, got.header)
	}
	g.saveErr = topology.ErrNoLeader
	f.do("GET", "!/v1/snapshot", "").refused(503, httpapi.CodeNoLeader)
	f.do("POST", "!/v1/snapshot", "one").want(200, ok)
	f.do("POST", "!/v1/snapshot?force=true", "two").want(200, ok)
	if want := []string{"one false", "two true"}; !reflect.DeepEqual(g.restored, want) {
		t.Errorf("restored %q, want %q", g.restored, want)
	}
	f.do("POST", "!/v1/snapshot?force=maybe", "x").refused(400, httpapi.CodeBadRequest)
	for code, status := range map[string]int{topology.CodeOtherCluster: 409, topology.CodeNewerFormat: 409, topology.CodeDamagedSnapshot: 400} {
		g.refuse = &topology.Error{Code: code, Reason: "it is refused, for a reason"}
		f.do("POST", "!/v1/snapshot", "x").refused(status, code)
	}
}

func TestTopologyRoutes(t *testing.T) {
	f, g := withGroup(t)
	f.do("GET", "!/v1/hubs", "").want(200, "["+hubA+","+hubB+"]")
	whole := `{"cluster":"` + groupID + `","index":%d,"hubs":[` + hubA + "," + hubB + `],"relayers":[` + edge1 + "," + edge2 + `],"assignments":[],"namespaces":[` + ordersShared + `]}`
	f.do("GET", "!/v1/topology", "").want(200, fmt.Sprintf(whole, 7))

	f.do("POST", "!/v1/topology/assign", `{"namespace":"orders","relayer":"edge-1"}`).want(200, fmt.Sprintf(whole, 8))
	g.want(t, topology.Assign{Assignment: topology.Assignment{Namespace: "orders", Relayer: "edge-1"}})
	f.do("POST", "!/v1/topology/unassign", `{"namespace":"orders","selector":{"region":"eu"}}`).want(200, fmt.Sprintf(whole, 9))
	g.want(t, topology.Unassign{Assignment: topology.Assignment{Namespace: "orders", Selector: map[string]string{"region": "eu"}}})
	f.do("POST", "!/v1/topology/set-upstream", `{"relayer":"edge-2","upstream":""}`).want(200, fmt.Sprintf(whole, 10))
	g.want(t, topology.SetUpstream{Relayer: "edge-2"})

	g.state.Assignments["x"] = &topology.Assignment{Namespace: "orders", Selector: map[string]string{"region": "eu"}}
	f.do("GET", "!/v1/topology", "").want(200, strings.Replace(fmt.Sprintf(whole, 10), `"assignments":[]`, `"assignments":[{"namespace":"orders","selector":{"region":"eu"}}]`, 1))
	for code, status := range map[string]int{
		topology.CodeUnknownRelayer: 404, topology.CodeUnknownLabel: 404, topology.CodeNamespaceNotFound: 404, topology.CodeAssignmentNotFound: 404,
		topology.CodeUpstreamCycle: 409, topology.CodeRelayerDraining: 409, topology.CodeBadRequest: 400, topology.CodeInvalidName: 400,
	} {
		g.refuse = &topology.Error{Code: code, Reason: "it is refused, for a reason"}
		f.do("POST", "!/v1/topology/assign", `{"namespace":"orders","relayer":"edge-1"}`).refused(status, code)
	}
}

func TestRelayerRoutes(t *testing.T) {
	f, g := withGroup(t)
	f.do("GET", "!/v1/relayers", "").want(200, "["+edge1+","+edge2+"]")
	f.do("GET", "!/v1/relayers/edge-1", "").want(200, edge1)
	f.do("GET", "!/v1/relayers/none", "").refused(404, topology.CodeUnknownRelayer)
	f.do("POST", "!/v1/relayers/edge-1/drain", "").want(200, edge1)
	g.want(t, topology.DrainRelayer{ID: "edge-1", Draining: true})
	f.do("POST", "!/v1/relayers/edge-1/drain", `{"undo":true}`).want(200, edge1)
	g.want(t, topology.DrainRelayer{ID: "edge-1"})
	f.do("POST", "!/v1/relayers/edge-1/other", "").refused(404, httpapi.CodeRouteNotFound)
	f.do("GET", "!/v1/relayers/", "").refused(404, httpapi.CodeRouteNotFound)
}

// TestRelayerRemoval: one that may be there is removed by force alone.
func TestRelayerRemoval(t *testing.T) {
	f, g := withGroup(t)
	f.do("DELETE", "!/v1/relayers/edge-1", "").refused(409, httpapi.CodeRelayerConnected)
	// Hub b doesn't answer, so that edge-2 may be there.
	f.do("DELETE", "!/v1/relayers/edge-2", "").refused(409, httpapi.CodeRelayerConnected)
	if len(g.proposed) > 0 {
		t.Errorf("a refused removal was proposed: %+v", g.proposed)
	}
	f.do("DELETE", "!/v1/relayers/edge-2?force=true", "").want(200, ok)
	g.want(t, topology.RemoveRelayer{ID: "edge-2", Force: true})
	g.overview.Hubs["hub-b"].Problem = ""
	f.do("DELETE", "!/v1/relayers/edge-2", "").want(200, ok)
	g.want(t, topology.RemoveRelayer{ID: "edge-2"})
	f.do("DELETE", "!/v1/relayers/none", "").refused(404, topology.CodeUnknownRelayer)
}

func TestTokenRoutes(t *testing.T) {
	f, g := withGroup(t)
	f.do("GET", "!/v1/relayers/tokens", "").want(200, `[{"id":"t1","expires":"2030-01-02T04:04:05Z","uses":2,"relayer":"edge-*"}]`)
	got := f.do("POST", "!/v1/relayers/tokens", `{"ttl":"90m","uses":3,"relayer":"edge-*","labels":{"region":"eu"}}`).want(200,
		`{"id":"<any>","token":"<any>","expires":"2030-01-02T04:34:05Z","uses":3,"relayer":"edge-*","labels":{"region":"eu"}}`)
	made, isToken := g.last(t).(topology.CreateToken)
	if !isToken || made.Token.ID != got.field("id") || !made.At.Equal(seenAt) || strings.Contains(fmt.Sprintf("%+v", made), got.field("token")) {
		t.Errorf("proposed %+v, answered %s", made, got.body)
	}
	f.do("POST", "!/v1/relayers/tokens", `{}`).want(200, `{"id":"<any>","token":"<any>","expires":"<any>","uses":1}`)
	for _, body := range []string{`{"ttl":"-1h"}`, `{"ttl":"soon"}`, `{"uses":-1}`, `{"ttl":"1000000h"}`} {
		f.do("POST", "!/v1/relayers/tokens", body).refused(400, httpapi.CodeBadRequest)
	}
	f.do("DELETE", "!/v1/relayers/tokens/t1", "").want(200, ok)
	g.want(t, topology.RevokeToken{ID: "t1"})
	f.do("DELETE", "!/v1/relayers/tokens", "").refused(405, httpapi.CodeMethodNotAllowed)
}

func TestCatalogRoutes(t *testing.T) {
	f, g := withGroup(t)
	f.do("GET", "!/v1/plugins?catalog=true", "").want(200, `[{"name":"hooks","kind":"notifier","type":"webhook","namespaces":["orders"],"options":{"max_delay":"20ms"}}]`)
	f.do("GET", "!/v1/plugins", "").want(200, `[]`)
	f.do("POST", "!/v1/plugins", `{"name":"hooks","kind":"notifier","type":"webhook","namespaces":["orders"],"config":{"secret":"hidden"}}`).want(200,
		`{"name":"hooks","kind":"notifier","type":"webhook","namespaces":["orders"]}`)
	g.want(t, topology.RegisterPlugin{Plugin: topology.Plugin{
		Name: "hooks", Kind: "notifier", Type: "webhook", Namespaces: []string{"orders"}, Config: map[string]any{"secret": "hidden"}}})
	f.do("DELETE", "!/v1/plugins/shop%2Fhooks", "").want(200, ok)
	g.want(t, topology.DeregisterPlugin{Name: "shop/hooks"})
	g.refuse = &topology.Error{Code: topology.CodePluginNotFound, Reason: "no such plugin in the catalog"}
	f.do("DELETE", "!/v1/plugins/none", "").refused(404, httpapi.CodePluginNotFound)
}

func TestNamespaceListOfAGroup(t *testing.T) {
	f, g := withGroup(t)
	local := func(name string) string {
		return `{"name":"` + name + `","owner":"n1","epoch":0,"hubs":["n1"],"acks":"local","lsn":0,"state":"serving"}`
	}
	// default and other are of the node, and the group hasn't heard of them yet.
	f.do("GET", "!/v1/namespaces", "").want(200, "["+local("default")+","+ordersShared+","+local("other")+"]")
	f.do("GET", "!/v1/namespaces/orders", "").want(200, ordersShared)
	f.do("GET", "!/v1/namespaces/default", "").want(200, local("default"))
	f.do("GET", "!/v1/namespaces/none", "").refused(404, httpapi.CodeNamespaceNotFound)

	// Without a word of the owner, the furthest of the hubs is shown.
	g.overview.Hubs["hub-b"].Namespaces["orders"] = &dbv1.NamespaceReport{Name: "orders", Lineage: ordersLineage, Epoch: 2, Lsn: 5}
	g.overview.Hubs["hub-a"] = &control.HubView{Problem: "no answer"}
	f.do("GET", "!/v1/namespaces/orders", "").want(200, strings.NewReplacer(`"epoch":3`, `"epoch":2`, `"lsn":9`, `"lsn":5`, `"state":"serving",`, "").Replace(ordersShared))
}

// made lets hub-b say that it has whatever namespace is created.
func (g *fakeGroup) made(c topology.Command) {
	create, isCreate := c.(topology.CreateNamespace)
	if !isCreate {
		return
	}
	next := *g.state
	next.Namespaces = maps.Clone(next.Namespaces)
	next.Namespaces[create.Name] = &topology.Namespace{Name: create.Name, Lineage: create.Lineage, Owner: create.Owner, Term: 1, Settings: create.Settings}
	g.state = &next
	hub := g.overview.Hubs[create.Owner.ID]
	hub.Namespaces[create.Name] = &dbv1.NamespaceReport{Name: create.Name, Lineage: create.Lineage, Role: "owner", State: "serving", Epoch: 1, Lsn: 1}
}

func TestNamespaceCreateInAGroup(t *testing.T) {
	f, g := withGroup(t)
	g.onPropose = g.made
	f.do("POST", "!/v1/namespaces", `{"name":"new"}`).want(200,
		`{"name":"new","owner":"hub-a","epoch":1,"hubs":["hub-a"],"acks":"local","lsn":1,"lineage":"<any>","term":1,"state":"serving"}`)
	f.do("POST", "!/v1/namespaces", `{"name":"big","owner":"hub-b","hubs":["hub-a"],"acks":"local","replicate":{"selector":{"region":"eu"}},"quota":{"max_bytes":5}}`).want(200,
		`{"name":"big","owner":"hub-b","epoch":1,"hubs":["hub-a","hub-b"],"acks":"local","lsn":1,"lineage":"<any>","term":1,"state":"serving",
		"quota":{"max_bytes":5},"replicate":{"hubs":["hub-a"],"selector":{"region":"eu"}}}`)
	created, isCreate := g.last(t).(topology.CreateNamespace)
	if !isCreate || len(created.Lineage) != 32 || !created.Created.Equal(seenAt) || created.Owner != (topology.Node{Kind: topology.KindHub, ID: "hub-b"}) {
		t.Errorf("proposed %+v", created)
	}
	f.do("POST", "!/v1/namespaces", `{"name":"no/name"}`).refused(400, httpapi.CodeBadRequest)
	f.do("POST", "!/v1/namespaces", `{"name":"default","replace":true,"owner":"hub-b"}`).refused(400, httpapi.CodeBadRequest)
	f.do("POST", "!/v1/namespaces", `{"name":"new","hub":"hub-b"}`).refused(400, httpapi.CodeInvalidJSON)
	g.refuse = &topology.Error{Code: topology.CodeNamespaceExists, Reason: "there is one of that name: choose another"}
	f.do("POST", "!/v1/namespaces", `{"name":"orders"}`).refused(409, httpapi.CodeNamespaceExists)
	g.refuse = &topology.Error{Code: topology.CodeNotBuilt, Reason: "acks isn't built yet: use local"}
	f.do("POST", "!/v1/namespaces", `{"name":"q","acks":"quorum"}`).refused(400, httpapi.CodeNotBuilt)
}

// TestNamespaceReplacedInAGroup: its owner makes it anew, as without a group.
func TestNamespaceReplacedInAGroup(t *testing.T) {
	f, g := withGroup(t)
	f.do("POST", "!/v1/namespaces", `{"name":"other","replace":true}`).want(200,
		`{"name":"other","owner":"n1","epoch":0,"hubs":["n1"],"acks":"local","lsn":0,"state":"serving"}`)
	if len(g.proposed) > 0 {
		t.Errorf("proposed %+v", g.proposed)
	}
}

// TestNamespaceThatItsOwnerDoesNotMake: it is recorded, and the answer says so.
func TestNamespaceThatItsOwnerDoesNotMake(t *testing.T) {
	f, g := withGroup(t)
	f.api.SetMadePatience(50 * time.Millisecond)
	f.do("POST", "!/v1/namespaces", `{"name":"late","owner":"hub-b"}`).refused(504, httpapi.CodeNotMade)
	if _, isCreate := g.last(t).(topology.CreateNamespace); !isCreate {
		t.Errorf("proposed %+v", g.last(t))
	}
}

func TestNamespaceSettings(t *testing.T) {
	f, g := withGroup(t)
	before := g.state.Namespaces["orders"].Settings
	for _, tc := range []struct {
		body string
		want func(*topology.Settings)
	}{
		{`{"quota":{"max_bytes":0,"write_bytes_per_second":7}}`, func(s *topology.Settings) { s.MaxBytes, s.WriteBytesPerSecond = 0, 7 }},
		{`{"quota":{"write_bytes_per_second":7}}`, func(s *topology.Settings) { s.WriteBytesPerSecond = 7 }},
		{`{"acks":"1"}`, func(s *topology.Settings) { s.Acks = "1" }},
		{`{"hubs":[]}`, func(s *topology.Settings) {
			s.Replicate = &topology.Replicate{Relayers: []string{"edge-*"}, Hubs: []string{}}
		}},
		{`{"hubs":["*"],"replicate":{"relayers":["x"],"selector":{"a":"b"}}}`, func(s *topology.Settings) {
			s.Replicate = &topology.Replicate{Relayers: []string{"x"}, Selector: map[string]string{"a": "b"}, Hubs: []string{"*"}}
		}},
		{`{"hubs":[],"replicate":{"relayers":[]}}`, func(s *topology.Settings) { s.Replicate = nil }},
	} {
		f.do("PUT", "!/v1/namespaces/orders", tc.body).want(200, ordersShared)
		want := before
		tc.want(&want)
		g.want(t, topology.SetNamespace{Name: "orders", Settings: want, Was: &before})
	}
	if !reflect.DeepEqual(g.state.Namespaces["orders"].Settings.Replicate, &topology.Replicate{Hubs: []string{"hub-b"}, Relayers: []string{"edge-*"}}) {
		t.Error("the group's state was changed by hand")
	}
	f.do("PUT", "!/v1/namespaces/orders", `{}`).refused(400, httpapi.CodeEmptyRequest)
	f.do("PUT", "!/v1/namespaces/none", `{"acks":"local"}`).refused(404, httpapi.CodeNamespaceNotFound)
	f.do("PUT", "!/v1/namespaces/orders", `{"ack":"local"}`).refused(400, httpapi.CodeInvalidJSON)
}

func TestNamespaceDeleted(t *testing.T) {
	f, g := withGroup(t)
	deleted := func(after string) string {
		return strings.TrimSuffix(ordersShared, "}") + `,"deleted":"2030-01-02T03:04:05Z","remove_after":"` + after + `"}`
	}
	f.do("DELETE", "!/v1/namespaces/orders?grace=1h", "").want(200, deleted("2030-01-02T04:04:05Z"))
	g.want(t, topology.DeleteNamespace{Name: "orders", At: seenAt, Grace: time.Hour})
	f.do("DELETE", "!/v1/namespaces/orders", "").want(200, deleted("2030-01-05T03:04:05Z"))
	f.do("DELETE", "!/v1/namespaces/orders?grace=-1s", "").refused(400, httpapi.CodeBadRequest)
	f.do("DELETE", "!/v1/namespaces/orders?grace=100y", "").refused(400, httpapi.CodeBadRequest)
	f.do("DELETE", "!/v1/namespaces/none", "").refused(404, httpapi.CodeNamespaceNotFound)
}

// TestStaleReads: what the hub has itself is answered with its age, and with no leader.
func TestStaleReads(t *testing.T) {
	f, g := withGroup(t)
	g.syncErr = topology.ErrNoLeader
	for _, path := range []string{"/v1/raft/peers", "/v1/hubs", "/v1/topology", "/v1/relayers", "/v1/relayers/edge-1", "/v1/relayers/tokens", "/v1/namespaces", "/v1/namespaces/orders", "/v1/plugins?catalog=true"} {
		got := f.do("GET", "!"+path, "").refused(503, httpapi.CodeNoLeader)
		if got.header.Get("Retry-After") == "" || got.header.Get(httpapi.HeaderStale) != "" {
			t.Errorf("%s: headers %v", path, got.header)
		}
		separator := "?"
		if strings.Contains(path, "?") {
			separator = "&"
		}
		got = f.do("GET", "!"+path+separator+"stale=true", "")
		if want := "index=7; age=12ms"; got.status != 200 || got.header.Get(httpapi.HeaderStale) != want {
			t.Errorf("%s, stale: %d, %q, want 200, %q", path, got.status, got.header.Get(httpapi.HeaderStale), want)
		}
	}
	g.freshness.LastContact = -1
	if got := f.do("GET", "!/v1/hubs?stale=true", ""); got.header.Get(httpapi.HeaderStale) != "index=7; age=unknown" {
		t.Errorf("header %q", got.header.Get(httpapi.HeaderStale))
	}
	f.do("GET", "!/v1/hubs?stale=perhaps", "").refused(400, httpapi.CodeBadRequest)
}

func TestGroupErrors(t *testing.T) {
	f, g := withGroup(t)
	for _, tc := range []struct {
		err    error
		status int
		code   string
	}{
		{topology.ErrNoLeader, 503, httpapi.CodeNoLeader},
		{topology.ErrOutcomeUnknown, 503, httpapi.CodeOutcomeUnknown},
		{fmt.Errorf("%w (%w)", topology.ErrOutcomeUnknown, context.DeadlineExceeded), 503, httpapi.CodeOutcomeUnknown},
		{context.DeadlineExceeded, 503, httpapi.CodeOutcomeUnknown},
		{errors.New("a mistake"), 500, httpapi.CodeInternal},
	} {
		g.refuse = tc.err
		f.do("POST", "!/v1/topology/assign", `{"namespace":"orders","relayer":"edge-1"}`).refused(tc.status, tc.code)
	}
	g.syncErr = context.DeadlineExceeded
	f.do("GET", "!/v1/topology", "").refused(503, httpapi.CodeNoLeader)
}

// TestRelayersHaveNoGroup: a relayer says that hubs are to be asked.
func TestRelayersHaveNoGroup(t *testing.T) {
	f := newFixture(t)
	for _, r := range []struct{ method, path string }{
		{"GET", "/v1/raft/peers"}, {"GET", "/v1/topology"}, {"GET", "/v1/relayers"}, {"GET", "/v1/hubs"}, {"GET", "/v1/snapshot"},
		{"POST", "/v1/topology/assign"}, {"DELETE", "/v1/namespaces/default"}, {"POST", "/v1/plugins"}, {"POST", "/v1/relayers/tokens"},
	} {
		f.do(r.method, "!"+r.path, "{}").refused(409, httpapi.CodeNotAHub)
	}
	f.do("POST", "!/v1/namespaces", `{"name":"new","owner":"hub-a"}`).refused(409, httpapi.CodeNotAHub)
	f.do("GET", "!/v1/namespaces/default", "").want(200, `{"name":"default","owner":"n1","epoch":0,"hubs":["n1"],"acks":"local","lsn":0,"state":"serving"}`)
}

// TestGroupRoutesFromElsewhere: what changes something, or tells secrets, answers on loopback only.
func TestGroupRoutesFromElsewhere(t *testing.T) {
	f, g := withGroup(t)
	for _, r := range []struct{ method, path string }{
		{"POST", "/v1/raft/remove-peer"}, {"POST", "/v1/raft/transfer-leader"}, {"GET", "/v1/snapshot"}, {"POST", "/v1/snapshot"},
		{"POST", "/v1/namespaces"}, {"PUT", "/v1/namespaces/orders"}, {"DELETE", "/v1/namespaces/orders"},
		{"POST", "/v1/topology/assign"}, {"POST", "/v1/topology/unassign"}, {"POST", "/v1/topology/set-upstream"},
		{"POST", "/v1/relayers/tokens"}, {"DELETE", "/v1/relayers/tokens/t1"}, {"POST", "/v1/relayers/edge-1/drain"}, {"DELETE", "/v1/relayers/edge-1"},
		{"POST", "/v1/plugins"}, {"DELETE", "/v1/plugins/hooks"},
	} {
		req := httptest.NewRequest(r.method, r.path, strings.NewReader("{}"))
		req.RemoteAddr = "192.0.2.7:1234"
		w := httptest.NewRecorder()
		f.api.ServeHTTP(w, req)
		if w.Code != http.StatusForbidden || !bytes.Contains(w.Body.Bytes(), []byte(httpapi.CodeForbidden)) {
			t.Errorf("%s %s from another machine: %d %s", r.method, r.path, w.Code, w.Body)
		}
	}
	if len(g.proposed)+len(g.removed)+len(g.led)+len(g.restored) > 0 {
		t.Error("something was changed for another machine")
	}
}
