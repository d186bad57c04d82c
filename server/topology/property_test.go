package topology

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// generator makes commands that mean something: most of them name what is there, some don't.
type generator struct {
	*rand.Rand
	made int
}

func newGenerator(seed uint64) *generator {
	return &generator{Rand: rand.New(rand.NewPCG(seed, 5))}
}

func (g *generator) name(prefix string, n int) string { return fmt.Sprint(prefix, g.IntN(n)) }

func (g *generator) hub() string       { return []string{"a", "b", "far", "h0", "h1"}[g.IntN(5)] }
func (g *generator) relayer() string   { return g.name("edge-", 8) }
func (g *generator) namespace() string { return g.name("ns-", 8) }

func (g *generator) labels() map[string]string {
	return map[string]string{"region": []string{"eu", "us"}[g.IntN(2)]}
}

func (g *generator) owner() Node {
	if g.IntN(4) == 0 {
		return relayerNode(g.relayer())
	}
	return hubNode(g.hub())
}

func (g *generator) settings() Settings {
	switch g.IntN(4) {
	case 0:
		return Settings{Replicate: &Replicate{Relayers: []string{"edge-?"}, Hubs: []string{"*"}}}
	case 1:
		return Settings{MaxBytes: g.Int64N(100), Replicate: &Replicate{Selector: g.labels()}}
	case 2:
		return Settings{Replicate: &Replicate{Hubs: []string{g.hub()}, Relayers: []string{g.relayer()}}}
	}
	return Settings{Acks: "local"}
}

func (g *generator) assignment() Assignment {
	switch g.IntN(4) {
	case 0:
		return Assignment{Namespace: g.namespace(), Selector: g.labels()}
	case 1:
		return Assignment{Namespace: g.namespace(), Relayer: "edge-*"}
	}
	return Assignment{Namespace: g.namespace(), Relayer: g.relayer()}
}

// command is the next one for a state.
func (g *generator) command(s *State) Command {
	g.made++
	lineage := lin(1000 + g.made)
	at := day.Add(time.Duration(g.made) * time.Second)
	switch g.IntN(20) {
	case 0:
		id := g.hub()
		return SetHub{Hub{ID: id, Instance: "i-" + id, Raft: id + ":4002", GRPC: fmt.Sprint(id, ":", g.IntN(3)), Voter: g.IntN(4) > 0}}
	case 1:
		return RemoveHub{ID: g.hub()}
	case 2, 3:
		return CreateNamespace{Name: g.namespace(), Lineage: lineage, Owner: g.owner(), Settings: g.settings(), Created: at, Replace: g.IntN(3) == 0}
	case 4:
		return EnsureNamespace{Name: g.namespace(), Lineage: lineage, Owner: g.owner(), Settings: g.settings(), Created: at}
	case 5, 6:
		return SetNamespace{Name: g.namespace(), Settings: g.settings()}
	case 7:
		return DeleteNamespace{g.namespace(), at, time.Hour}
	case 8:
		for l := range s.Deleted {
			return PurgeNamespace{l}
		}
		return PurgeNamespace{lineage}
	case 9:
		return SetVia{g.namespace(), g.hub()}
	case 10, 11:
		id := g.relayer()
		return SetRelayer{Relayer: Relayer{ID: id, Instance: "i-" + id, Advertise: []string{"", id + ":1", id + ":2"}[g.IntN(3)], Labels: g.labels()}}
	case 12:
		return RemoveRelayer{g.relayer(), g.IntN(2) == 0}
	case 13:
		return DrainRelayer{g.relayer(), g.IntN(3) > 0}
	case 14:
		return SetUpstream{g.relayer(), []string{"", g.hub(), g.relayer(), g.relayer()}[g.IntN(4)]}
	case 15, 16, 17:
		return Assign{g.assignment()}
	case 18:
		return Unassign{g.assignment()}
	}
	switch g.IntN(5) {
	case 0:
		return RegisterPlugin{Plugin{Name: g.name("p", 3), Kind: "model", Namespaces: []string{g.namespace()}, Config: map[string]any{"n": g.IntN(9), "x": "y"}}}
	case 1:
		return DeregisterPlugin{g.name("p", 3)}
	case 2:
		return CreateToken{Token{ID: g.name("t", 5), SHA256: sum64, Expires: at.Add(time.Minute), Uses: 2, Labels: g.labels()}, at}
	case 3:
		return RevokeToken{g.name("t", 5)}
	}
	return SetRelayer{Relayer: Relayer{ID: g.relayer(), Instance: "other", Credential: sum64}, Token: g.name("t", 5), At: at}
}

func sumOf(t testing.TB, s *State) [32]byte {
	t.Helper()
	b, err := s.body()
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(b)
}

// TestDeterminism: the same entries make the same state, whether one goes through all of them or takes over a
// snapshot on the way; the state before a command stays as it was; and what is kept for questions is what
// going over everything would answer.
func TestDeterminism(t *testing.T) {
	for _, seed := range seedsOf(12) {
		g := newGenerator(seed)
		a, b, c := world(t), world(t), world(t)
		takeOver := 1 + g.IntN(80)
		refusals := 0
		for i := range 100 {
			entry, err := Encode(g.command(a))
			if err != nil {
				t.Fatal(err)
			}
			before := sumOf(t, a)
			next, refused, err := a.applyEntry(a.Index+1, entry)
			if err != nil {
				t.Fatal(err)
			}
			if refused != nil {
				refusals++
			}
			if before != sumOf(t, a) {
				t.Fatalf("seed %d: command %d has changed a state that was handed out", seed, i)
			}
			a = next
			for _, s := range []**State{&b, &c} {
				if *s, _, err = (*s).applyEntry((*s).Index+1, entry); err != nil {
					t.Fatal(err)
				}
			}
			if i == takeOver {
				c = throughSnapshot(t, c)
			}
			if x := sumOf(t, a); x != sumOf(t, b) || x != sumOf(t, c) || a.Chain != c.Chain {
				t.Fatalf("seed %d: states differ after command %d: %s", seed, i, sameState(a, c))
			}
			if d := sameState(a, rebuilt(a)); d != "" {
				t.Fatalf("seed %d: what is kept for questions differs after command %d: %s", seed, i, d)
			}
		}
		if refusals == 0 || refusals == 100 {
			t.Errorf("seed %d: %d of 100 commands were refused", seed, refusals)
		}
		checkInvariants(t, a)
	}
}

// TestChain: what differs in a history differs in its hash, and builds that are in one group agree on it.
func TestChain(t *testing.T) {
	first := chained(Hash{}, 7, []byte("entry"), nil)
	if got, want := first.String(), "7c83ff47197ee350e4eb96b126775d2d207a6ef5084e46d49de318cacabe0457"; got != want {
		t.Errorf("the chain is %s, and that of other builds %s", got, want)
	}
	seen := map[Hash]bool{first: true}
	for i, h := range []Hash{
		chained(first, 7, []byte("entry"), nil),
		chained(Hash{}, 8, []byte("entry"), nil),
		chained(Hash{}, 7, []byte("other"), nil),
		chained(Hash{}, 7, []byte("entry"), refuse(CodeBadRequest, "")),
		chained(Hash{}, 7, []byte("entry"), refuse(CodeUnknownHub, "")),
	} {
		if seen[h] {
			t.Errorf("history %d has the hash of another", i)
		}
		seen[h] = true
	}
	for _, text := range []string{"", "00", strings.Repeat("x", 64)} {
		if err := new(Hash).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is read as a hash", text)
		}
	}
}

func throughSnapshot(t testing.TB, s *State) *State {
	t.Helper()
	var b bytes.Buffer
	if err := s.writeSnapshot(&b, "1.2.3"); err != nil {
		t.Fatal(err)
	}
	back, _, err := readSnapshot(&b)
	if err != nil {
		t.Fatal(err)
	}
	return back
}

// checkInvariants checks what holds of every state.
func checkInvariants(t testing.TB, s *State) {
	t.Helper()
	voters := 0
	for _, h := range s.Hubs {
		if s.Relayers[h.ID] != nil {
			t.Errorf("%s is a hub and a relayer", h.ID)
		}
		if h.Voter {
			voters++
		}
	}
	if voters == 0 {
		t.Error("nobody has a vote")
	}
	lineages := map[string]string{}
	for _, ns := range s.Namespaces {
		if other, ok := lineages[ns.Lineage]; ok || s.Deleted[ns.Lineage] != nil {
			t.Errorf("%s and %s have a lineage in common", ns.Name, other)
		}
		lineages[ns.Lineage] = ns.Name
		if ns.Via != "" && s.Hubs[ns.Via] == nil {
			t.Errorf("%s comes by way of %s, which isn't there", ns.Name, ns.Via)
		}
	}
	for key, a := range s.Assignments {
		if key != a.Key() || s.Namespaces[a.Namespace] == nil {
			t.Errorf("assignment %s: %+v", key, a)
		}
	}
	for id, r := range s.Relayers {
		steps := 0
		for next := r; next != nil; next = s.Relayers[next.Upstream] {
			if steps++; steps > len(s.Relayers) {
				t.Fatalf("%s follows itself", id)
			}
		}
		if up := r.Upstream; up != "" && s.Relayers[up] == nil && s.Hubs[up] == nil {
			t.Errorf("%s follows %s, which isn't there", id, up)
		}
	}
}
