package releasetest

import (
	"testing"

	"github.com/unisondb/unisondb/sdk/client"

	"example.com/edge-inference/boost"
	"example.com/edge-inference/payments"
	"example.com/edge-inference/release"
)

// cards is how many cards a draft knows.
const cards = 8

// Draft is a release whose weights, features and policy are like those of no other seed.
func Draft(seed int) release.Draft {
	s := float64(seed)
	m := boost.Model{Inputs: []string{payments.AmountOff}, Stumps: []boost.Stump{{Threshold: s, Left: -s, Right: s}}}
	profiles := map[string]payments.Profile{}
	for i := range cards {
		profiles[payments.CardID(i)] = payments.Profile{payments.MeanLogAmount: s + float64(i)}
	}
	return release.Draft{Weights: m.Encode(), Profiles: profiles, Policy: &release.Policy{ReviewAt: 0.5, DeclineAt: 0.9 - s/1000, MaxAmount: 100 + s}}
}

// Publish makes a draft the next release.
func Publish(t testing.TB, c *client.Client, d release.Draft) release.Record {
	t.Helper()
	r, _, err := release.Publish(t.Context(), c, d)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Load reads the release in force.
func Load(t testing.TB, c *client.Client) *release.Release {
	t.Helper()
	r, err := release.Load(t.Context(), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
