package release

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"github.com/unisondb/unisondb/sdk/client"

	"example.com/edge-inference/boost"
	"example.com/edge-inference/payments"
)

// A Release is all that an edge needs to decide. It is immutable, so that who holds one can't
// see half of the next.
type Release struct {
	record   Record
	position client.Position // at which it was read
	weights  *weights
	features *features
}

// weights are a model and the checksum of the bytes that it was decoded from.
type weights struct {
	model  *boost.Model
	sha256 string
}

// features are the profiles of cards and their checksum.
type features struct {
	profiles map[string]payments.Profile
	sha256   string
}

// sumOf is the checksum of profiles.
func sumOf(profiles map[string]payments.Profile) string {
	sum := sha256.New()
	for _, card := range slices.Sorted(maps.Keys(profiles)) {
		fmt.Fprintf(sum, "%q\n", card)
		row := profiles[card].Row()
		for _, column := range slices.Sorted(maps.Keys(row)) {
			fmt.Fprintf(sum, "%q %s\n", column, row[column])
		}
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// newRelease puts parts together that belong together, and refuses others.
func newRelease(r Record, p client.Position, w *weights, f *features) (*Release, error) {
	switch {
	case w.sha256 != r.WeightsSHA256:
		return nil, fmt.Errorf("release %d wants weights with SHA-256 %s, and %s has %s: publish it again", r.Release, r.WeightsSHA256, r.Weights, w.sha256)
	case f.sha256 != r.FeaturesSHA256:
		return nil, fmt.Errorf("release %d wants features with SHA-256 %s, and %s have %s: publish it again", r.Release, r.FeaturesSHA256, r.Features, f.sha256)
	}
	for _, name := range w.model.Inputs {
		if !payments.Known(name) {
			return nil, fmt.Errorf("the weights of release %d want an input %q, which this program doesn't know: install a newer one", r.Release, name)
		}
	}
	for card, profile := range f.profiles {
		for _, column := range payments.ColumnsOf(w.model.Inputs) {
			if _, ok := profile[column]; !ok {
				return nil, fmt.Errorf("the weights of release %d want column %q, which the row of %s hasn't got: publish it again", r.Release, column, card)
			}
		}
	}
	return &Release{record: r, position: p, weights: w, features: f}, nil
}

// Number counts releases: 1, 2, 3 …
func (r *Release) Number() int { return r.record.Release }

// Position is that of the state in which the release was read.
func (r *Release) Position() client.Position { return r.position }

// Answer is a decision, and what it was made with.
type Answer struct {
	Decision string  `json:"decision"` // "approve", "review" or "decline"
	Score    float64 `json:"score"`

	Release  int              `json:"release"`
	Position client.Position  `json:"position"`
	Weights  string           `json:"weights"`  // the beginning of the SHA-256 of what was decoded
	Features string           `json:"features"` // and of that of all rows
	Profile  payments.Profile `json:"profile"`  // the card's row
	Policy   Policy           `json:"policy"`
}

// Decide answers for one payment.
func (r *Release) Decide(p payments.Payment) (Answer, error) {
	profile, ok := r.features.profiles[p.Card]
	if !ok {
		return Answer{}, fmt.Errorf("release %d knows no card %q: use one of those that have features", r.Number(), p.Card)
	}
	m := r.weights.model
	score := m.Score(payments.Inputs(m.Inputs, p, profile))
	return Answer{
		Decision: r.record.Policy.decide(score, p.Amount), Score: score,
		Release: r.Number(), Position: r.position, Weights: brief(r.weights.sha256),
		Features: brief(r.features.sha256), Profile: profile, Policy: r.record.Policy,
	}, nil
}

// brief is as much of a checksum as a person wants to see.
func brief(sha256 string) string { return sha256[:min(len(sha256), 16)] }

func (p Policy) decide(score, amount float64) string {
	switch {
	case score >= p.DeclineAt:
		return "decline"
	case score >= p.ReviewAt || amount > p.MaxAmount:
		return "review"
	}
	return "approve"
}
