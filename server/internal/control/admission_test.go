package control

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
	"github.com/unisondb/unisondb/server/acl"
	"github.com/unisondb/unisondb/server/topology"
)

// certOf is a certificate that names a node.
func certOf(kind acl.Kind, name string) *x509.Certificate {
	c := &x509.Certificate{Subject: pkix.Name{CommonName: name}, SerialNumber: big.NewInt(1)}
	if kind != "" {
		c.Subject.CommonName = ""
		c.URIs = append(c.URIs, (acl.Identity{Kind: kind, Name: name}).URI())
	}
	return c
}

// TestAdmission: who is let in, and why others aren't.
func TestAdmission(t *testing.T) {
	const secret = "0123456789abcdef0123456789abcdef"
	for _, tt := range []struct {
		name   string
		cert   *x509.Certificate
		plain  bool // the listener
		change func(h *dbv1.RelayerHello, token string)
		code   string // empty: it is let in
		reason string
	}{
		{name: "certificate", cert: certOf(acl.Relayer, "edge-1")},
		{name: "foreign certificate", cert: certOf("", "edge-1")},
		{name: "plain", plain: true},
		{name: "token", change: func(h *dbv1.RelayerHello, token string) { h.JoinToken, h.Credential = token, secret }},
		{name: "token on a plain listener", plain: true, change: func(h *dbv1.RelayerHello, token string) { h.JoinToken = token }},

		{name: "nothing", code: CodeNotIdentified, reason: "join_token"},
		{name: "a client", cert: certOf(acl.Client, "edge-1"), code: CodeIdentityMismatch, reason: "is for relayers"},
		{name: "a hub", cert: certOf(acl.Hub, "edge-1"), code: CodeIdentityMismatch, reason: "is for relayers"},
		{name: "somebody else", cert: certOf(acl.Relayer, "edge-2"), code: CodeIdentityMismatch, reason: `that of relayer "edge-2"`},
		{name: "nobody", cert: certOf("", ""), code: CodeIdentityMismatch, reason: "-name=edge-1"},
		{name: "no id", plain: true, change: func(h *dbv1.RelayerHello, _ string) { h.NodeId = "" }, code: CodeInvalidMessage, reason: "is no name"},
		{name: "a bad id", plain: true, change: func(h *dbv1.RelayerHello, _ string) { h.NodeId = "a\nb" }, code: CodeInvalidMessage, reason: "is no name"},
		{name: "no instance", plain: true, change: func(h *dbv1.RelayerHello, _ string) { h.InstanceId = "" }, code: CodeInvalidMessage, reason: "which instance"},
		{name: "a hub's id", plain: true, change: func(h *dbv1.RelayerHello, _ string) { h.NodeId = "hub" }, code: CodeNodeIDTaken, reason: "is a hub's"},
		{name: "another's id", plain: true, change: func(h *dbv1.RelayerHello, _ string) { h.NodeId = "taken" }, code: CodeNodeIDTaken, reason: "operator relayer remove taken"},
		{name: "another cluster", plain: true, change: func(h *dbv1.RelayerHello, _ string) { h.Cluster = strings.Repeat("1", 32) }, code: CodeOtherCluster, reason: "empty data directory"},
		{name: "a bad label", plain: true, change: func(h *dbv1.RelayerHello, _ string) { h.Labels = map[string]string{"a b": "c"} }, code: topology.CodeInvalidName, reason: "label"},
		{name: "too much of its own", plain: true, change: func(h *dbv1.RelayerHello, _ string) { h.Owned = make([]*dbv1.OwnedNamespace, maxOwned+1) }, code: CodeInvalidMessage, reason: "owns 1025"},
		{name: "no token", change: func(h *dbv1.RelayerHello, _ string) { h.JoinToken = "let me in" }, code: CodeTokenRefused, reason: "another form"},
		{name: "an unknown token", change: func(h *dbv1.RelayerHello, _ string) { h.JoinToken = "unison-join.abc.def" }, code: CodeTokenRefused, reason: "isn't known"},
		{name: "a wrong secret", change: func(h *dbv1.RelayerHello, token string) {
			h.JoinToken, h.Credential = token[:len(token)-1]+"!", secret
		}, code: CodeTokenRefused, reason: "isn't known"},
		{name: "no credential with a token", change: func(h *dbv1.RelayerHello, token string) { h.JoinToken = token }, code: CodeInvalidMessage, reason: "newer version"},
		{name: "a token for others", change: func(h *dbv1.RelayerHello, token string) {
			h.NodeId, h.JoinToken, h.Credential = "store-1", token, secret
		}, code: topology.CodeTokenRefused, reason: `for relayers "edge-*"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork()
				hub := serve(t, n, "hub", newGroup(t, "hub"), func(o *DeskOptions) { o.Secure, o.PeerOf = !tt.plain, showing(tt.cert) })
				hub.propose(t, topology.SetRelayer{Relayer: topology.Relayer{ID: "taken", Instance: "somebody's"}})
				token, entry, err := NewToken(TokenOptions{Relayer: "edge-*", Labels: map[string]string{"tier": "store"}}, time.Now())
				if err != nil {
					t.Fatal(err)
				}
				hub.propose(t, topology.CreateToken{Token: entry, At: time.Now()})
				before := hub.group.State()
				h := hello("edge-1")
				if tt.change != nil {
					tt.change(h, token)
				}
				r := hub.dial(t, n, h)
				if tt.code == "" {
					r.joins()
					known := hub.group.State().Relayers["edge-1"]
					if byToken := h.JoinToken != ""; known == nil || byToken != (known.Labels["tier"] == "store") {
						t.Errorf("the group knows %+v", known)
					}
					return
				}
				refused := r.refused()
				if refused.GetCode() != tt.code || !strings.Contains(refused.GetReason(), tt.reason) || strings.Contains(refused.GetReason(), "\n") {
					t.Errorf("got %s: %s", refused.GetCode(), refused.GetReason())
				}
				if after := hub.group.State(); len(after.Relayers) != len(before.Relayers) || after.Tokens[entry.ID].Uses != 1 {
					t.Errorf("the state has changed: %+v", after.Relayers)
				}
			})
		})
	}
}

// TestTokenIsUsedUp: a token that lets one in lets in no second one, but the first one again,
// whose answer was lost. From then on its credential is enough, also for streams.
func TestTokenIsUsedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		hub := serve(t, n, "hub", newGroup(t, "hub"), func(o *DeskOptions) { o.Secure, o.PeerOf = true, showing(nil) })
		token, entry, err := NewToken(TokenOptions{TTL: time.Minute}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		hub.propose(t, topology.CreateToken{Token: entry, At: time.Now()})
		with := func(id, token, credential string) *rawRelayer {
			h := hello(id)
			h.JoinToken, h.Credential = token, credential
			return hub.dial(t, n, h)
		}
		first, second := NewCredential(), NewCredential()
		with("edge-1", token, first).joins()
		with("edge-1", token, first).joins()
		with("edge-1", "", first).joins()
		if got := with("edge-2", token, second).refused(); got.GetCode() != topology.CodeTokenUsedUp {
			t.Errorf("a second relayer: %v", got)
		}
		if got := with("edge-1", "", second).refused(); got.GetCode() != CodeCredentialRefused {
			t.Errorf("another credential: %v", got)
		}
		if err := hub.desk.CheckCredential("edge-1", first); err != nil {
			t.Errorf("its stream is refused: %v", err)
		}
		for _, c := range [][2]string{{"edge-1", second}, {"edge-1", ""}, {"edge-2", first}, {"hub", ""}, {"", ""}, {"\xff", "x"}} {
			if err := hub.desk.CheckCredential(c[0], c[1]); err == nil {
				t.Errorf("a stream of %q with %q is taken", c[0], c[1])
			}
		}
		hub.propose(t, topology.RemoveRelayer{ID: "edge-1"})
		if err := hub.desk.CheckCredential("edge-1", first); err == nil {
			t.Error("the credential of a removed relayer is taken")
		}
		// What has expired is refused in words, not as used up.
		time.Sleep(2 * time.Minute)
		if got := with("edge-3", token, second).refused(); got.GetCode() != CodeTokenRefused || !strings.Contains(got.GetReason(), "expired") {
			t.Errorf("got %v", got)
		}
	})
}

// TestRemovedRelayers are told at once, and don't come back by themselves.
func TestRemovedRelayers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		hub := serve(t, n, "hub", newGroup(t, "hub"), nil)
		r := hub.dial(t, n, hello("edge-1"))
		welcome, _ := r.joins()
		hub.propose(t, topology.RemoveRelayer{ID: "edge-1"})
		if got := r.refused(); got.GetCode() != CodeRelayerRemoved || got.GetRetryable() {
			t.Errorf("got %v", got)
		}
		again := hello("edge-1")
		again.Cluster = welcome.GetCluster()
		if got := hub.dial(t, n, again).refused(); got.GetCode() != CodeRelayerRemoved {
			t.Errorf("it comes back: %v", got)
		}
		token, entry, err := NewToken(TokenOptions{}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		hub.propose(t, topology.CreateToken{Token: entry, At: time.Now()})
		again.JoinToken = token
		hub.dial(t, n, again).joins()
		// Another data directory may take its place once it is removed.
		other := hello("edge-1")
		other.InstanceId = "a new one"
		if got := hub.dial(t, n, other).refused(); got.GetCode() != CodeNodeIDTaken {
			t.Errorf("got %v", got)
		}
		hub.propose(t, topology.RemoveRelayer{ID: "edge-1"})
		hub.dial(t, n, other).joins()
	})
}

// TestNewerSessionReplacesOlder: a relayer whose connection broke unnoticed isn't shut out.
func TestNewerSessionReplacesOlder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		hub := serve(t, n, "hub", newGroup(t, "hub"), nil)
		older := hub.dial(t, n, hello("edge-1"))
		older.joins()
		newer := hub.dial(t, n, hello("edge-1"))
		newer.joins()
		if got := older.refused(); got.GetCode() != CodeSessionReplaced || got.GetRetryable() {
			t.Errorf("got %v", got)
		}
		synctest.Wait()
		hub.namespace(t, "orders")
		hub.assign(t, "orders", "edge-1")
		newer.assigned()
		if got := hub.desk.Sessions(); len(got) != 1 {
			t.Errorf("%d sessions", len(got))
		}
	})
}

// TestWithoutLeader: a relayer that the hub knows is served; a new one is asked to come
// again. What a known one says anew of itself is agreed on later.
func TestWithoutLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		hub := serve(t, n, "hub", newGroup(t, "hub"), nil)
		hub.namespace(t, "orders")
		hub.dial(t, n, hello("edge-1")).joins()
		hub.assign(t, "orders", "edge-1")
		hub.group.leaderless.Store(true)
		h := hello("edge-1")
		h.Region = "eu"
		if _, a := hub.dial(t, n, h).joins(); len(a.GetNamespaces()) != 1 {
			t.Errorf("got %v", a)
		}
		if got := hub.dial(t, n, hello("edge-2")).refused(); got.GetCode() != CodeNoLeader || !got.GetRetryable() {
			t.Errorf("got %v", got)
		}
		// Nobody is sent away for what only a hub that can't ask believes.
		taken := hello("edge-1")
		taken.InstanceId = "another"
		if got := hub.dial(t, n, taken).refused(); got.GetCode() != CodeNoLeader || !got.GetRetryable() {
			t.Errorf("got %v", got)
		}
		hub.group.leaderless.Store(false)
		eventually(t, "the group knows the region", func() bool { return hub.group.State().Relayers["edge-1"].Region == "eu" })
	})
}

// TestHubCatchesUpWithoutLeader: as soon as a hub's state is as new as what the relayer has been told, it is good
// enough, whatever it was that has changed.
func TestHubCatchesUpWithoutLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		hub := serve(t, n, "hub", newGroup(t, "hub"), nil)
		hub.dial(t, n, hello("edge-1")).joins()
		hub.group.leaderless.Store(true)
		hub.group.lag()
		hub.namespace(t, "orders") // is nobody's
		h := hello("edge-1")
		h.AssignmentIndex = hub.group.Group.State().Index
		r := hub.dial(t, n, h)
		if r.hears().GetHello() == nil {
			t.Fatal("no hello")
		}
		time.Sleep(silencePatience / 2)
		hub.group.catchUp()
		r.assigned()
	})
}

// TestRemovedFrom: a state from before a relayer has joined doesn't say that it was removed.
func TestRemovedFrom(t *testing.T) {
	s := &session{joined: 10, claim: claim{relayer: topology.Relayer{ID: "edge-1", Instance: "i"}}}
	for _, tt := range []struct {
		index    uint64
		instance string // that the state knows; empty: none
		removed  bool
	}{{9, "", false}, {10, "", true}, {11, "other", true}, {11, "i", false}} {
		st := topology.NewState()
		st.Index = tt.index
		if tt.instance != "" {
			st.Relayers["edge-1"] = &topology.Relayer{ID: "edge-1", Instance: tt.instance}
		}
		if got := s.removedFrom(st); got != tt.removed {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}

// TestJoiningAHubBehind: a hub that hasn't heard yet itself that a relayer has joined by it
// neither sends it away nor takes away what it is to have.
func TestJoiningAHubBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		hub := serve(t, n, "hub", newGroup(t, "hub"), nil)
		hub.namespace(t, "orders")
		hub.propose(t, topology.SetNamespace{Name: "orders", Settings: topology.Settings{Replicate: &topology.Replicate{Relayers: []string{"*"}}}})
		hub.group.lag()
		r := hub.dial(t, n, hello("edge-1"))
		if r.hears().GetHello() == nil {
			t.Fatal("no hello")
		}
		hub.namespace(t, "stock")
		time.Sleep(silencePatience / 2)
		if got := hub.session("edge-1"); got == nil || got.GetSentIndex() != 0 {
			t.Errorf("its session: %v", got)
		}
		hub.group.catchUp()
		if a := r.assigned(); len(a.GetNamespaces()) != 1 {
			t.Errorf("got %v", a)
		}
	})
}

// TestHubBehind: a hub whose state is older than what the relayer has been told says nothing of
// assignments before it has caught up, so that nothing is taken away that was given.
func TestHubBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		hub := serve(t, n, "hub", newGroup(t, "hub"), nil)
		hub.namespace(t, "orders")
		r := hub.dial(t, n, hello("edge-1"))
		r.joins()
		r.leave()
		old := hub.group.State()
		index := hub.assign(t, "orders", "edge-1")
		hub.group.behind.Store(old)
		hub.group.leaderless.Store(true)
		h := hello("edge-1")
		h.AssignmentIndex = index
		r = hub.dial(t, n, h)
		if r.hears().GetHello() == nil {
			t.Fatal("no hello")
		}
		time.Sleep(silencePatience / 2)
		if got := hub.session("edge-1").GetSentIndex(); got != 0 {
			t.Errorf("a state of index %d was told of", got)
		}
		hub.group.leaderless.Store(false)
		if a := r.assigned(); len(a.GetNamespaces()) != 1 || a.GetIndex() < index {
			t.Errorf("got %v", a)
		}
		// A group that was recovered from an older state has a lower index than the relayer
		// has seen, and is as new as there is.
		h.AssignmentIndex = index + 1000
		if _, a := hub.dial(t, n, h).joins(); len(a.GetNamespaces()) != 1 {
			t.Errorf("got %v", a)
		}
	})
}
