package topology

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var (
	day   = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	sum64 = strings.Repeat("ab", 32)
)

// lin is the lineage of a number.
func lin(n int) string { return fmt.Sprintf("%032x", n) }

func hubNode(id string) Node     { return Node{Kind: KindHub, ID: id} }
func relayerNode(id string) Node { return Node{Kind: KindRelayer, ID: id} }

// then applies commands, none of which may be refused.
func then(t testing.TB, s *State, commands ...Command) *State {
	t.Helper()
	for _, c := range commands {
		next, err := s.apply(s.Index+1, c)
		if err != nil {
			t.Fatalf("%T %+v: %v", c, c, err)
		}
		s = next
	}
	return s
}

// world is a group of three hubs, the last of which has no vote, with some of everything.
func world(t testing.TB) *State {
	t.Helper()
	hub := func(id string, voter bool) SetHub {
		return SetHub{Hub{ID: id, Instance: "i-" + id, Raft: id + ":4002", GRPC: id + ":4001", Voter: voter, ReadsUpTo: newest}}
	}
	relayer := func(id, advertise string, labels map[string]string) SetRelayer {
		return SetRelayer{Relayer: Relayer{ID: id, Instance: "i-" + id, Advertise: advertise, Labels: labels}}
	}
	eu := map[string]string{"region": "eu"}
	return then(t, NewState(),
		Begin{Cluster: lin(0xc1)},
		hub("a", true), hub("b", true), hub("far", false),
		relayer("edge-1", "edge-1:4001", eu), relayer("edge-2", "edge-2:4001", eu), relayer("edge-3", "", map[string]string{"region": "us"}),
		CreateNamespace{Name: "orders", Lineage: lin(1), Owner: hubNode("a"), Created: day, Settings: Settings{Replicate: &Replicate{Hubs: []string{"b"}}}},
		CreateNamespace{Name: "open", Lineage: lin(2), Owner: hubNode("b"), Created: day},
		CreateNamespace{Name: "insights", Lineage: lin(3), Owner: relayerNode("edge-1"), Created: day},
		CreateNamespace{Name: "old", Lineage: lin(4), Owner: hubNode("a"), Created: day},
		DeleteNamespace{Name: "old", At: day, Grace: time.Hour},
		SetVia{"insights", "a"},
		SetUpstream{"edge-2", "edge-1"},
		Assign{Assignment{Namespace: "orders", Relayer: "edge-2"}},
		Assign{Assignment{Namespace: "open", Selector: eu}},
		RegisterPlugin{Plugin{Name: "hook", Kind: "notifier", Type: "webhook", Namespaces: []string{"orders"}, Config: map[string]any{"url": "https://example.com"}}},
		CreateToken{Token{ID: "t1", SHA256: sum64, Expires: day.Add(time.Hour), Uses: 1, Relayer: "edge-*", Labels: map[string]string{"tier": "store"}}, day},
		CreateToken{Token{ID: "t2", SHA256: sum64, Expires: day.Add(time.Minute), Uses: 5}, day},
		CreateToken{Token{ID: "spent", SHA256: sum64, Expires: day.Add(time.Hour), Uses: 1}, day},
		SetRelayer{Relayer: Relayer{ID: "edge-9", Instance: "i-edge-9", Credential: sum64}, Token: "spent", At: day},
		DrainRelayer{"edge-9", true},
	)
}

// sameState compares all that states hold.
func sameState(a, b *State) string {
	return cmp.Diff(a, b, cmpopts.IgnoreUnexported(State{})) + cmp.Diff(a.lookup(), b.lookup(), cmp.AllowUnexported(lookup{}), cmpopts.EquateEmpty())
}

// rebuilt is the state without its lookup, which is made anew for each question.
func rebuilt(s *State) *State {
	fresh := *s
	fresh.derived = nil
	return &fresh
}

// TestBadInput: what can't be is refused in words by its code, and the state stays as it is.
func TestBadInput(t *testing.T) {
	long := strings.Repeat("x", 129)
	settings := func(s Settings) SetNamespace { return SetNamespace{Name: "orders", Settings: s} }
	create := func(change func(*CreateNamespace)) CreateNamespace {
		c := CreateNamespace{Name: "new", Lineage: lin(9), Owner: hubNode("a"), Created: day}
		change(&c)
		return c
	}
	ensure := func(c CreateNamespace) EnsureNamespace {
		return EnsureNamespace{Name: c.Name, Lineage: c.Lineage, Owner: c.Owner, Settings: c.Settings, Created: c.Created}
	}
	token := func(change func(*CreateToken)) CreateToken {
		c := CreateToken{Token{ID: "new", SHA256: sum64, Expires: day.Add(time.Hour), Uses: 1}, day}
		change(&c)
		return c
	}
	plugin := func(change func(*Plugin)) RegisterPlugin {
		p := Plugin{Name: "p", Kind: "notifier", Type: "mqtt", Namespaces: []string{"orders"}}
		change(&p)
		return RegisterPlugin{p}
	}
	comes := func(id, token string, at time.Time) SetRelayer {
		return SetRelayer{Relayer: Relayer{ID: id, Instance: "i-" + id}, Token: token, At: at}
	}
	manyLabels := map[string]string{}
	for i := range 65 {
		manyLabels[fmt.Sprint("l", i)] = "x"
	}
	for name, c := range map[string]struct {
		command Command
		code    string
		says    string // part of the reason
	}{
		"a second bootstrap":            {Begin{lin(7)}, CodeAlreadyBootstrapped, "begun before"},
		"hub without a name":            {SetHub{Hub{Instance: "i"}}, CodeInvalidName, "no node id"},
		"hub with a wild name":          {SetHub{Hub{ID: "a/b", Instance: "i"}}, CodeInvalidName, `"a/b"`},
		"hub with a long name":          {SetHub{Hub{ID: long, Instance: "i"}}, CodeInvalidName, "1 to 128"},
		"hub without an instance":       {SetHub{Hub{ID: "c"}}, CodeBadRequest, "instance"},
		"hub with a long address":       {SetHub{Hub{ID: "c", Instance: "i", GRPC: strings.Repeat("x", 300)}}, CodeBadRequest, "256"},
		"hub that breaks lines":         {SetHub{Hub{ID: "c", Instance: "i", Version: "1\n2"}}, CodeBadRequest, "control characters"},
		"hub id used twice":             {SetHub{Hub{ID: "a", Instance: "other", Voter: true}}, CodeNodeIDTaken, "i-a"},
		"hub with a relayer's id":       {SetHub{Hub{ID: "edge-1", Instance: "i-edge-1"}}, CodeNodeIDTaken, "relayer's"},
		"raft address used twice":       {SetHub{Hub{ID: "c", Instance: "i", Raft: "b:4002"}}, CodeAddressTaken, `hub "b"`},
		"removing an unknown hub":       {RemoveHub{ID: "c"}, CodeUnknownHub, "the hubs are a, b, far"},
		"removing an older instance":    {RemoveHub{ID: "a", Instance: "old"}, CodeInstanceMismatch, "i-a"},
		"namespace that is there":       {create(func(c *CreateNamespace) { c.Name = "orders" }), CodeNamespaceExists, `hub "a"`},
		"namespace with a wild name":    {create(func(c *CreateNamespace) { c.Name = "../x" }), CodeInvalidName, "no namespace name"},
		"namespace with a long name":    {create(func(c *CreateNamespace) { c.Name = long[:65] }), CodeInvalidName, "1 to 64"},
		"namespace without a name":      {create(func(c *CreateNamespace) { c.Name = "" }), CodeInvalidName, `""`},
		"lineage that is none":          {create(func(c *CreateNamespace) { c.Lineage = "zz" }), CodeBadRequest, "no lineage"},
		"lineage of zeros":              {create(func(c *CreateNamespace) { c.Lineage = lin(0) }), CodeBadRequest, "not all of them 0"},
		"lineage used twice":            {create(func(c *CreateNamespace) { c.Lineage = lin(1) }), CodeLineageTaken, `"orders"`},
		"lineage that was deleted":      {create(func(c *CreateNamespace) { c.Lineage = lin(4) }), CodeLineageTaken, "deleted"},
		"owner is an unknown hub":       {create(func(c *CreateNamespace) { c.Owner = hubNode("c") }), CodeUnknownHub, `"c"`},
		"owner is an unknown relayer":   {create(func(c *CreateNamespace) { c.Owner = relayerNode("c") }), CodeUnknownRelayer, `"c"`},
		"owner of no kind":              {create(func(c *CreateNamespace) { c.Owner = Node{ID: "a"} }), CodeBadRequest, "hub or a relayer"},
		"acks of a quorum":              {create(func(c *CreateNamespace) { c.Settings.Acks = "quorum" }), CodeNotBuilt, "isn't built yet"},
		"acks of 2":                     {settings(Settings{Acks: "2"}), CodeNotBuilt, "isn't built yet"},
		"acks of something":             {settings(Settings{Acks: "most"}), CodeBadRequest, `"local"`},
		"acks of 0":                     {settings(Settings{Acks: "0"}), CodeBadRequest, `"local"`},
		"negative quota":                {settings(Settings{MaxBytes: -1}), CodeBadRequest, "quota"},
		"negative rate":                 {settings(Settings{WriteBytesPerSecond: -1}), CodeBadRequest, "quota"},
		"replica on an unknown hub":     {settings(Settings{Replicate: &Replicate{Hubs: []string{"a", "c"}}}), CodeUnknownHub, `"c"`},
		"create on an unknown hub":      {create(func(c *CreateNamespace) { c.Settings.Replicate = &Replicate{Hubs: []string{"c"}} }), CodeUnknownHub, `"c"`},
		"replicate to an unknown one":   {settings(Settings{Replicate: &Replicate{Relayers: []string{"edge-7"}}}), CodeUnknownRelayer, `"edge-7"`},
		"replicate by unknown labels":   {settings(Settings{Replicate: &Replicate{Selector: map[string]string{"region": "ue"}}}), CodeUnknownLabel, "region=ue"},
		"replicate by a wild pattern":   {settings(Settings{Replicate: &Replicate{Relayers: []string{"edge-[1-3]"}}}), CodeInvalidName, "pattern"},
		"replicate by a wild label":     {settings(Settings{Replicate: &Replicate{Selector: map[string]string{"a b": ""}}}), CodeInvalidName, "label name"},
		"too many patterns":             {settings(Settings{Replicate: &Replicate{Hubs: make([]string, 1001)}}), CodeTooLarge, "1000"},
		"settings of an unknown one":    {SetNamespace{Name: "none"}, CodeNamespaceNotFound, "insights, open, orders"},
		"settings made from older ones": {SetNamespace{Name: "orders", Was: &Settings{Acks: "local"}}, CodeSettingsChanged, "read them"},
		"deleting an unknown one":       {DeleteNamespace{Name: "none", At: day}, CodeNamespaceNotFound, `"none"`},
		"deleting a deleted one":        {DeleteNamespace{Name: "old", At: day}, CodeNamespaceNotFound, `"old"`},
		"deleting without a time":       {DeleteNamespace{Name: "orders"}, CodeBadRequest, "a time"},
		"deleting with a negative time": {DeleteNamespace{Name: "orders", At: day, Grace: -1}, CodeBadRequest, "negative"},
		"replacing without a time":      {create(func(c *CreateNamespace) { c.Name, c.Replace, c.Created = "orders", true, time.Time{} }), CodeBadRequest, "a time"},
		"purging what isn't deleted":    {PurgeNamespace{lin(1)}, CodeNamespaceNotFound, "no deleted namespace"},
		"via of an unknown one":         {SetVia{"none", "a"}, CodeNamespaceNotFound, `"none"`},
		"via of a hub's":                {SetVia{"orders", "a"}, CodeBadRequest, "owned by a hub"},
		"via an unknown hub":            {SetVia{"insights", "c"}, CodeUnknownHub, `"c"`},
		"ensured with a wild name":      {ensure(create(func(c *CreateNamespace) { c.Name = "a/b" })), CodeInvalidName, `"a/b"`},
		"ensured with a wild lineage":   {ensure(create(func(c *CreateNamespace) { c.Lineage = "" })), CodeBadRequest, "lineage"},
		"ensured what was deleted":      {ensure(create(func(c *CreateNamespace) { c.Lineage = lin(4) })), CodeLineageTaken, "deleted"},
		"ensured by an unknown relayer": {ensure(create(func(c *CreateNamespace) { c.Owner = relayerNode("x") })), CodeUnknownRelayer, `"x"`},
		"relayer without a name":        {SetRelayer{Relayer: Relayer{Instance: "i"}}, CodeInvalidName, "node id"},
		"relayer without an instance":   {SetRelayer{Relayer: Relayer{ID: "e"}}, CodeBadRequest, "instance"},
		"relayer id used twice":         {SetRelayer{Relayer: Relayer{ID: "edge-1", Instance: "other"}}, CodeNodeIDTaken, "relayer remove edge-1"},
		"relayer with a hub's id":       {SetRelayer{Relayer: Relayer{ID: "a", Instance: "i-a"}}, CodeNodeIDTaken, "a hub's"},
		"relayer with a wild label":     {SetRelayer{Relayer: Relayer{ID: "e", Instance: "i", Labels: map[string]string{"a": "b,c"}}}, CodeInvalidName, "value of a label"},
		"relayer with a broken label":   {SetRelayer{Relayer: Relayer{ID: "e", Instance: "i", Labels: map[string]string{"a": "\xff"}}}, CodeInvalidName, "value of a label"},
		"relayer with many labels":      {SetRelayer{Relayer: Relayer{ID: "e", Instance: "i", Labels: manyLabels}}, CodeTooLarge, "64"},
		"relayer with a wild proof":     {SetRelayer{Relayer: Relayer{ID: "e", Instance: "i", Credential: "secret"}}, CodeBadRequest, "SHA-256"},
		"unknown join token":            {comes("edge-7", "t9", day), CodeTokenNotFound, "relayer token"},
		"join token without a time":     {comes("edge-7", "t1", time.Time{}), CodeBadRequest, "the time"},
		"expired join token":            {comes("edge-7", "t2", day.Add(time.Minute)), CodeTokenExpired, "2030-01-01T00:01:00Z"},
		"join token for others":         {comes("store-7", "t1", day), CodeTokenRefused, `"edge-*"`},
		"used up join token":            {comes("edge-7", "spent", day), CodeTokenUsedUp, "used up"},
		"removing an unknown relayer":   {RemoveRelayer{ID: "edge-7"}, CodeUnknownRelayer, "edge-1, edge-2"},
		"removing an owner":             {RemoveRelayer{ID: "edge-1"}, CodeRelayerOwns, "insights"},
		"draining an unknown one":       {DrainRelayer{"edge-7", true}, CodeUnknownRelayer, `"edge-7"`},
		"upstream of an unknown one":    {SetUpstream{"edge-7", "edge-1"}, CodeUnknownRelayer, `"edge-7"`},
		"unknown upstream":              {SetUpstream{"edge-1", "edge-7"}, CodeUnknownRelayer, "neither"},
		"its own upstream":              {SetUpstream{"edge-1", "edge-1"}, CodeUpstreamCycle, "its own"},
		"a cycle of upstreams":          {SetUpstream{"edge-1", "edge-2"}, CodeUpstreamCycle, "edge-1 -> edge-2 -> edge-1"},
		"upstream without an address":   {SetUpstream{"edge-1", "edge-3"}, CodeNotReachable, "advertise"},
		"draining upstream":             {SetUpstream{"edge-1", "edge-9"}, CodeRelayerDraining, "draining"},
		"assigning an unknown one":      {Assign{Assignment{Namespace: "none", Relayer: "edge-1"}}, CodeNamespaceNotFound, `"none"`},
		"assigning a wild name":         {Assign{Assignment{Namespace: "a\nb", Relayer: "edge-1"}}, CodeInvalidName, `"a\nb"`},
		"assigning to an unknown one":   {Assign{Assignment{Namespace: "orders", Relayer: "edge-7"}}, CodeUnknownRelayer, `"edge-7"`},
		"assigning to a hub":            {Assign{Assignment{Namespace: "orders", Relayer: "b"}}, CodeUnknownRelayer, "is a hub"},
		"assigning to a draining one":   {Assign{Assignment{Namespace: "orders", Relayer: "edge-9"}}, CodeRelayerDraining, "draining"},
		"assigning to nobody":           {Assign{Assignment{Namespace: "orders"}}, CodeBadRequest, "needs a relayer"},
		"assigning in two ways":         {Assign{Assignment{Namespace: "orders", Relayer: "edge-1", Selector: map[string]string{"region": "eu"}}}, CodeBadRequest, "not both"},
		"assigning by unknown label":    {Assign{Assignment{Namespace: "orders", Selector: map[string]string{"zone": "eu"}}}, CodeUnknownLabel, "zone=eu"},
		"assigning by unknown value":    {Assign{Assignment{Namespace: "orders", Selector: map[string]string{"region": "mars"}}}, CodeUnknownLabel, "region=mars"},
		"assigning by a wild label":     {Assign{Assignment{Namespace: "orders", Selector: map[string]string{"": "x"}}}, CodeInvalidName, "label name"},
		"unassigning what isn't":        {Unassign{Assignment{Namespace: "orders", Relayer: "edge-1"}}, CodeAssignmentNotFound, "topology show"},
		"unassigning an unknown one":    {Unassign{Assignment{Namespace: "none", Relayer: "edge-1"}}, CodeNamespaceNotFound, `"none"`},
		"unassigning nothing":           {Unassign{Assignment{Namespace: "orders"}}, CodeBadRequest, "needs a relayer"},
		"plugin without a name":         {plugin(func(p *Plugin) { p.Name = "" }), CodeInvalidName, "name of a plugin"},
		"plugin of no kind":             {plugin(func(p *Plugin) { p.Kind = "x" }), CodeBadRequest, "model"},
		"plugin of a wild type":         {plugin(func(p *Plugin) { p.Type = "../sh" }), CodeInvalidName, "type"},
		"plugin that runs nowhere":      {plugin(func(p *Plugin) { p.RunOn = "none" }), CodeBadRequest, "run_on"},
		"plugin with a wild checksum":   {plugin(func(p *Plugin) { p.SHA256 = "12" }), CodeBadRequest, "sha256"},
		"plugin for no namespace":       {plugin(func(p *Plugin) { p.Namespaces = nil }), CodeBadRequest, "names no"},
		"plugin for an unknown one":     {plugin(func(p *Plugin) { p.Namespaces = []string{"none"} }), CodeNamespaceNotFound, `"none"`},
		"deregistering an unknown one":  {DeregisterPlugin{"none"}, CodePluginNotFound, "hook"},
		"token that is there":           {token(func(c *CreateToken) { c.Token.ID = "t1" }), CodeTokenExists, `"t1"`},
		"token without a name":          {token(func(c *CreateToken) { c.Token.ID = "" }), CodeInvalidName, "join token"},
		"token without a secret":        {token(func(c *CreateToken) { c.Token.SHA256 = "" }), CodeBadRequest, "SHA-256"},
		"token that has expired":        {token(func(c *CreateToken) { c.Token.Expires = day }), CodeBadRequest, "expire"},
		"token for no use":              {token(func(c *CreateToken) { c.Token.Uses = 0 }), CodeBadRequest, "1 use"},
		"token for a wild pattern":      {token(func(c *CreateToken) { c.Token.Relayer = "[" }), CodeInvalidName, "pattern"},
		"token with a wild label":       {token(func(c *CreateToken) { c.Token.Labels = map[string]string{"a": "b c"} }), CodeInvalidName, "value"},
		"revoking an unknown one":       {RevokeToken{"none"}, CodeTokenNotFound, `"none"`},
		"restoring nothing":             {Restore{}, CodeDamagedSnapshot, "damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			s := world(t)
			before, err := s.body()
			if err != nil {
				t.Fatal(err)
			}
			next, err := s.apply(s.Index+1, c.command)
			if CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("refused with %s: %v; want %s: %s", CodeOf(err), err, c.code, c.says)
			}
			if strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("breaks lines: %q", err)
			}
			if next.Index != s.Index+1 {
				t.Errorf("index %d follows %d", next.Index, s.Index)
			}
			if d := sameState(s.at(next.Index), next); d != "" {
				t.Errorf("the state has changed: %s", d)
			}
			if after, err := s.body(); err != nil || !bytes.Equal(before, after) {
				t.Errorf("a state that was handed out has changed: %s, %v", cmp.Diff(string(before), string(after)), err)
			}
		})
	}
}

// TestInstanceOfANamespace: a namespace is for one data directory of its owner, and a successor of
// that hub finds out that it isn't the one.
func TestInstanceOfANamespace(t *testing.T) {
	s := then(t, world(t), RemoveHub{ID: "b", Instance: "i-b"}, SetHub{Hub{ID: "b", Instance: "again", Raft: "b:4002", Voter: true}},
		EnsureNamespace{Name: "later", Lineage: lin(30), Owner: hubNode("b"), Created: day},
		SetNamespace{Name: "open", Settings: Settings{MaxBytes: 1}})
	for name, want := range map[string]string{"orders": "i-a", "open": "i-b", "later": "again", "insights": ""} {
		if got := s.Namespaces[name].Instance; got != want {
			t.Errorf("%s is for instance %q, want %q", name, got, want)
		}
	}
	s = then(t, s, CreateNamespace{Name: "open", Lineage: lin(31), Owner: hubNode("b"), Created: day, Replace: true})
	if got := s.Namespaces["open"].Instance; got != "again" {
		t.Errorf("what was replaced is for instance %q", got)
	}
}

// TestLastVoter: whatever happens, somebody keeps a vote.
func TestLastVoter(t *testing.T) {
	s := then(t, world(t), RemoveHub{ID: "b", Instance: "i-b"})
	for _, c := range []Command{RemoveHub{ID: "a"}, SetHub{Hub{ID: "a", Instance: "i-a", Raft: "a:4002", Voter: false}}} {
		next, err := s.apply(s.Index+1, c)
		if CodeOf(err) != CodeLastVoter || next.Hubs["a"] != s.Hubs["a"] {
			t.Errorf("%T: %v", c, err)
		}
	}
	s = then(t, s, SetHub{Hub{ID: "far", Instance: "i-far", Voter: true}}, RemoveHub{ID: "a"})
	if len(s.Hubs) != 1 || s.Namespaces["orders"].Owner != hubNode("a") {
		t.Errorf("hubs %v, owner %v", s.Hubs, s.Namespaces["orders"].Owner)
	}
	if s.Namespaces["insights"].Via != "" {
		t.Error("what an edge owns still comes by way of a hub that is gone")
	}
}

// TestBeforeBegin: a group that hasn't begun takes nothing.
func TestBeforeBegin(t *testing.T) {
	if _, err := NewState().apply(1, SetHub{Hub{ID: "a", Instance: "i"}}); CodeOf(err) != CodeNotBootstrapped {
		t.Error(err)
	}
	for _, id := range []string{"", lin(0), "x", strings.ToUpper(lin(0xabc))} {
		if _, err := NewState().apply(1, Begin{id}); CodeOf(err) != CodeBadRequest {
			t.Errorf("%q: %v", id, err)
		}
	}
}

// TestNamespaceLife: a name is free again at once, its assignments are gone, and
// what was deleted is known until it is purged.
func TestNamespaceLife(t *testing.T) {
	s := then(t, world(t), DeleteNamespace{Name: "orders", At: day.Add(time.Hour), Grace: time.Minute})
	gone := s.Deleted[lin(1)]
	if gone == nil || !gone.Deleted.Equal(day.Add(time.Hour)) || gone.Grace != time.Minute || s.Namespaces["orders"] != nil {
		t.Fatalf("deleted %+v", gone)
	}
	for _, a := range s.Assignments {
		if a.Namespace == "orders" {
			t.Errorf("%+v outlives its namespace", a)
		}
	}
	if got := s.AssignedTo("edge-2"); !cmp.Equal(got, []string{"open"}) {
		t.Errorf("edge-2 has %v", got)
	}
	s = then(t, s, CreateNamespace{Name: "orders", Lineage: lin(10), Owner: hubNode("b"), Created: day}, PurgeNamespace{lin(1)})
	if ns := s.Namespaces["orders"]; ns.Lineage != lin(10) || ns.Term != 1 || ns.Settings.Acks != "local" || s.Deleted[lin(1)] != nil {
		t.Errorf("made again: %+v", ns)
	}
}

// TestReplace: a new history takes the place of one that was lost; who has it stays.
func TestReplace(t *testing.T) {
	s := then(t, world(t), CreateNamespace{Name: "orders", Lineage: lin(10), Owner: hubNode("b"), Created: day, Replace: true, Grace: time.Hour})
	if s.Namespaces["orders"].Lineage != lin(10) || s.Deleted[lin(1)] == nil || s.Deleted[lin(1)].Grace != time.Hour || !s.Deleted[lin(1)].Replaced || s.Deleted[lin(4)].Replaced {
		t.Errorf("%+v", s.Namespaces["orders"])
	}
	if got := s.AssignedTo("edge-2"); !cmp.Equal(got, []string{"open", "orders"}) {
		t.Errorf("edge-2 has %v", got)
	}
	then(t, world(t), CreateNamespace{Name: "brand-new", Lineage: lin(10), Owner: hubNode("b"), Created: day, Replace: true})
}

// TestEnsureNamespace: the first one makes it; HCL may name nodes that are to come.
func TestEnsureNamespace(t *testing.T) {
	s := then(t, world(t), EnsureNamespace{Name: "orders", Lineage: lin(4), Owner: hubNode("nobody"), Created: day})
	if ns := s.Namespaces["orders"]; ns.Lineage != lin(1) || ns.Owner != hubNode("a") {
		t.Errorf("ensuring changed it: %+v", ns)
	}
	r := &Replicate{Relayers: []string{"edge-77"}, Hubs: []string{"hub-z"}, Selector: map[string]string{"zone": "z"}}
	s = then(t, s, EnsureNamespace{Name: "later", Lineage: lin(11), Owner: hubNode("a"), Settings: Settings{Replicate: r}, Created: day})
	// What stands in the settings may stay in them.
	s = then(t, s, SetNamespace{Name: "later", Settings: Settings{MaxBytes: 5, Replicate: r}})
	more := &Replicate{Relayers: []string{"edge-77", "edge-78"}}
	if _, err := s.apply(s.Index+1, SetNamespace{Name: "later", Settings: Settings{Replicate: more}}); CodeOf(err) != CodeUnknownRelayer {
		t.Error(err)
	}
	if got := s.HubsOf("later"); !cmp.Equal(got, []string{"a"}) {
		t.Errorf("hubs %v", got)
	}
}

// TestSetRelayerKeeps: what the operator and the join token gave a relayer isn't for it to say.
func TestSetRelayerKeeps(t *testing.T) {
	s := then(t, world(t), SetRelayer{
		Relayer: Relayer{ID: "edge-5", Instance: "i", Credential: sum64, Labels: map[string]string{"tier": "mine", "x": "y"}, Upstream: "a", Draining: true},
		Token:   "t1", At: day,
	})
	r := s.Relayers["edge-5"]
	if r.Upstream != "" || r.Draining || !cmp.Equal(r.Labels, map[string]string{"tier": "store", "x": "y"}) || s.Tokens["t1"].Uses != 0 {
		t.Fatalf("joined as %+v", r)
	}
	// The answer was lost: it comes again with the token, and then without.
	other := strings.Repeat("cd", 32)
	s = then(t, s, SetUpstream{"edge-5", "edge-1"}, DrainRelayer{"edge-5", true},
		SetRelayer{Relayer: Relayer{ID: "edge-5", Instance: "i", Credential: other}, Token: "t1", At: day},
		SetRelayer{Relayer: Relayer{ID: "edge-5", Instance: "i", Labels: map[string]string{"tier": "mine"}, Advertise: "e:1"}})
	r = s.Relayers["edge-5"]
	if r.Credential != other || r.Upstream != "edge-1" || !r.Draining || !cmp.Equal(r.Labels, map[string]string{"tier": "store"}) || r.Advertise != "e:1" {
		t.Errorf("came again as %+v", r)
	}
	s = then(t, s, RevokeToken{"t1"})
	if _, err := s.apply(s.Index+1, SetRelayer{Relayer: Relayer{ID: "edge-5", Instance: "i"}, Token: "t1", At: day}); CodeOf(err) != CodeTokenNotFound {
		t.Errorf("a revoked token: %v", err)
	}
	s = then(t, s, CreateToken{Token{ID: "t3", SHA256: sum64, Expires: day.Add(3 * time.Hour), Uses: 1}, day.Add(2 * time.Hour)})
	if len(s.Tokens) != 1 {
		t.Errorf("expired tokens stay: %v", s.Tokens)
	}
}

// TestRemoveRelayer: nothing of it is left, and nobody follows it.
func TestRemoveRelayer(t *testing.T) {
	s := then(t, world(t), Assign{Assignment{Namespace: "orders", Relayer: "edge-*"}}, RemoveRelayer{ID: "edge-2"}, RemoveRelayer{ID: "edge-1", Force: true})
	if s.Relayers["edge-1"] != nil || s.Relayers["edge-2"] != nil || len(s.AssignedTo("edge-2")) > 0 {
		t.Errorf("relayers %v", s.Relayers)
	}
	if _, ok := s.Assignments[Assignment{Namespace: "orders", Relayer: "edge-2"}.Key()]; ok || len(s.Assignments) != 2 {
		t.Errorf("assignments %v", s.Assignments)
	}
	// A hub's end is also that of the preference for it.
	s = then(t, world(t), SetUpstream{"edge-3", "b"}, RemoveHub{ID: "b"})
	if up := s.Relayers["edge-3"].Upstream; up != "" {
		t.Errorf("edge-3 follows %q, which is gone", up)
	}
	// A relayer that others follow through a removed one may follow these.
	s = then(t, world(t), SetUpstream{"edge-3", "edge-2"}, RemoveRelayer{ID: "edge-2"}, SetUpstream{"edge-1", ""})
	if up := s.Relayers["edge-3"].Upstream; up != "" {
		t.Errorf("edge-3 follows %q, which is gone", up)
	}
}

// TestUpstreamOfHub ends the search for cycles at a hub.
func TestUpstreamOfHub(t *testing.T) {
	s := then(t, world(t), SetUpstream{"edge-1", "a"}, SetUpstream{"edge-3", "edge-2"})
	if got := s.Relayers["edge-1"].Upstream; got != "a" {
		t.Error(got)
	}
	if _, err := s.apply(s.Index+1, SetUpstream{"edge-1", "edge-2"}); CodeOf(err) != CodeUpstreamCycle {
		t.Error(err)
	}
}
