package release_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"example.com/edge-inference/boost"
	"example.com/edge-inference/payments"
	"example.com/edge-inference/release"
	"example.com/edge-inference/release/releasetest"
)

var payment = payments.Payment{Card: payments.CardID(7), Amount: 20, Hour: 3}

func decide(t *testing.T, r *release.Release) release.Answer {
	t.Helper()
	a, err := r.Decide(payment)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestWhatIsPublishedIsLoaded(t *testing.T) {
	c := releasetest.New(t).Client(t)
	if _, err := release.Load(t.Context(), c, nil); !errors.Is(err, release.ErrNone) {
		t.Fatalf("before the first release: %v", err)
	}
	var r *release.Release // the one before, as an edge has it
	for seed := 1; seed <= 2; seed++ {
		releasetest.Publish(t, c, releasetest.Draft(seed))
		var err error
		if r, err = release.Load(t.Context(), c, r); err != nil {
			t.Fatal(err)
		}
		recorded, err := release.LoadRecorded(t.Context(), c, seed)
		if err != nil {
			t.Fatal(err)
		}
		if r.Number() != seed {
			t.Errorf("release %d is loaded, want %d", r.Number(), seed)
		}
		if err := release.Verify(decide(t, r), payment, recorded); err != nil {
			t.Error(err)
		}
	}
}

// TestAPolicyAloneKeepsTheRest reads nothing but manifest and policy.
func TestAPolicyAloneKeepsTheRest(t *testing.T) {
	node := releasetest.New(t)
	c := node.Client(t)
	releasetest.Publish(t, c, releasetest.Draft(1))
	first := releasetest.Load(t, c)
	releasetest.Publish(t, c, release.Draft{Policy: &release.Policy{ReviewAt: 0.1, DeclineAt: 0.2, MaxAmount: 5}})
	node.Before = func(route string) {
		if route != "POST tx" {
			t.Errorf("the change of a policy costs a %s", route)
		}
	}
	second, err := release.Load(t.Context(), c, first)
	if err != nil {
		t.Fatal(err)
	}
	a, b := decide(t, first), decide(t, second)
	if b.Release != 2 || b.Weights != a.Weights || b.Features != a.Features || b.Policy.DeclineAt != 0.2 {
		t.Errorf("got %+v behind %+v", b, a)
	}
	if again, err := release.Load(t.Context(), c, second); err != nil || again != second {
		t.Errorf("without a change another release was made: %v", err)
	}
}

// TestAReleaseInTheMiddleOfAnother arrives between any two requests by which an edge reads the one
// before: what is read is all of one.
func TestAReleaseInTheMiddleOfAnother(t *testing.T) {
	for _, at := range []string{"POST tx", "GET lob", "GET row"} {
		t.Run(at, func(t *testing.T) {
			node := releasetest.New(t)
			c := node.Client(t)
			releasetest.Publish(t, c, releasetest.Draft(1))
			node.Before = func(route string) {
				if route == at {
					node.Before = nil
					releasetest.Publish(t, c, releasetest.Draft(2))
				}
			}
			got := decide(t, releasetest.Load(t, c))
			truth, err := release.LoadRecorded(t.Context(), c, got.Release)
			if err != nil {
				t.Fatal(err)
			}
			if err := release.Verify(got, payment, truth); err != nil {
				t.Error(err)
			}
			if want := map[bool]int{true: 2, false: 1}[at == "POST tx"]; got.Release != want {
				t.Errorf("release %d was read, want %d", got.Release, want)
			}
		})
	}
}

// TestTwoPublishAtOnce: the one that comes second begins again.
func TestTwoPublishAtOnce(t *testing.T) {
	node := releasetest.New(t)
	c := node.Client(t)
	releasetest.Publish(t, c, releasetest.Draft(1))
	reads := 0
	node.Before = func(route string) {
		if route != "GET kv" {
			return
		}
		if reads++; reads == 2 { // the one below has read which release is in force
			node.Before = nil
			releasetest.Publish(t, c, releasetest.Draft(2))
		}
	}
	if r := releasetest.Publish(t, c, releasetest.Draft(3)); r.Release != 3 || r.Weights != release.WeightsKey(3) {
		t.Errorf("the one that came second became %+v", r)
	}
}

// TestMixesAreDetected plants each mix that there can be.
func TestMixesAreDetected(t *testing.T) {
	c := releasetest.New(t).Client(t)
	var truth [2]*release.Release
	for i := range truth {
		releasetest.Publish(t, c, releasetest.Draft(i+1))
		truth[i] = releasetest.Load(t, c)
	}
	old, now := decide(t, truth[0]), decide(t, truth[1])
	if err := release.Verify(now, payment, truth[1]); err != nil {
		t.Fatal(err)
	}
	for what, plant := range map[string]func(a *release.Answer){
		"weights":  func(a *release.Answer) { a.Weights = old.Weights },
		"features": func(a *release.Answer) { a.Features = old.Features },
		"profile":  func(a *release.Answer) { a.Profile = old.Profile },
		"policy":   func(a *release.Answer) { a.Policy = old.Policy },
		"score":    func(a *release.Answer) { a.Score = old.Score },
		"release":  func(a *release.Answer) { a.Release = old.Release },
	} {
		a := now
		if plant(&a); release.Verify(a, payment, truth[1]) == nil {
			t.Errorf("an answer with the %s of another release was found good", what)
		}
	}
}

// TestPartsThatDontFitAreRefused: weights and features have to be those that the manifest names,
// and damage is no release.
func TestPartsThatDontFitAreRefused(t *testing.T) {
	other := boost.Model{Inputs: []string{"moon"}}
	for what, tt := range map[string]struct {
		plant func(*releasetest.Node)
		want  string
	}{
		"other weights":   {func(n *releasetest.Node) { n.Set("lob/weights/1", other.Encode()) }, "wants weights"},
		"damaged weights": {func(n *releasetest.Node) { n.Set("lob/weights/1", n.Get("lob/weights/1")[1:]) }, "damaged"},
		"another row":     {func(n *releasetest.Node) { n.Set("row/features/1/zz", nil) }, "wants features"},
		"a policy":        {func(n *releasetest.Node) { n.Set("kv/"+release.DeclineAtKey, []byte("low")) }, "no number"},
		"a low threshold": {func(n *releasetest.Node) { n.Set("kv/"+release.DeclineAtKey, []byte("0.1")) }, "reviews at"},
	} {
		t.Run(what, func(t *testing.T) {
			node := releasetest.New(t)
			c := node.Client(t)
			releasetest.Publish(t, c, releasetest.Draft(1))
			tt.plant(node)
			if _, err := release.Load(t.Context(), c, nil); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

// TestInputsThatNobodyKnowsAreRefused: an edge that is older than a model says so.
func TestInputsThatNobodyKnowsAreRefused(t *testing.T) {
	c := releasetest.New(t).Client(t)
	for input, want := range map[string]string{"moon": "doesn't know", payments.HourOff: "hasn't got"} {
		d := releasetest.Draft(1)
		d.Weights = (&boost.Model{Inputs: []string{input}}).Encode()
		releasetest.Publish(t, c, d)
		if _, err := release.Load(t.Context(), c, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("input %q: got %v, want an error with %q", input, err, want)
		}
	}
}

func TestPruneKeepsWhatIsNeeded(t *testing.T) {
	node := releasetest.New(t)
	c := node.Client(t)
	releasetest.Publish(t, c, releasetest.Draft(1))
	releasetest.Publish(t, c, releasetest.Draft(2))
	releasetest.Publish(t, c, release.Draft{Policy: releasetest.Draft(3).Policy}) // on the weights of 2
	pruned, err := release.Prune(t.Context(), c, 1)
	if err != nil || !slices.Equal(pruned, []int{1, 2}) {
		t.Fatalf("pruned %v, %v", pruned, err)
	}
	for _, key := range node.Has() {
		if strings.HasPrefix(key, "lob/weights/1") || strings.HasPrefix(key, "row/features/1/") || key == "kv/"+release.RecordKey(1) {
			t.Errorf("%s is still there", key)
		}
	}
	if r := releasetest.Load(t, c); r.Number() != 3 {
		t.Errorf("release %d is in force", r.Number())
	}
}
