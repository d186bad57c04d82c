// Package release is how models reach edges: what a release consists of, how the centre
// publishes one, and how an edge reads one in a consistent state.
package release

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"

	"github.com/unisondb/unisondb/sdk/client"
)

// #region layout

// Namespace holds all releases.
const Namespace = "inference"

// What stands where. Weights and features are written once and never changed, under names of their
// own; the manifest says which of them are in force. Manifest and policy are overwritten by each
// release.
const (
	ManifestKey = "release" // a key: the manifest

	DeclineAtKey = "policy/decline_at" // keys: the policy
	ReviewAtKey  = "policy/review_at"
	MaxAmountKey = "policy/max_amount"
)

// WeightsKey names a large object.
func WeightsKey(release int) string { return fmt.Sprintf("weights/%d", release) }

// FeaturesPrefix begins the keys of a release's rows, one for each card.
func FeaturesPrefix(release int) string { return fmt.Sprintf("features/%d/", release) }

// RecordKey is where a release is kept on record for whoever asks later what was in force.
func RecordKey(release int) string { return fmt.Sprintf("%s%06d", recordPrefix, release) }

// Manifest says what a release consists of.
type Manifest struct {
	Release        int    `json:"release"` // 1, 2, 3 …
	Weights        string `json:"weights"` // the large object
	WeightsSHA256  string `json:"weights_sha256"`
	Features       string `json:"features"` // the prefix of the rows
	FeaturesSHA256 string `json:"features_sha256"`
}

// #endregion layout

// Policy says what is done about a score.
type Policy struct {
	DeclineAt float64 `json:"decline_at"` // at this score and above a payment is declined
	ReviewAt  float64 `json:"review_at"`  // and at this one a person looks at it
	MaxAmount float64 `json:"max_amount"` // as at any score above this amount
}

// Record is what is kept of a release.
type Record struct {
	Manifest
	Policy Policy `json:"policy"`
}

// policyKeys are the keys of a policy, in the order of its fields.
var policyKeys = []string{DeclineAtKey, ReviewAtKey, MaxAmountKey}

// values are what the policy's keys hold: decimal text, so that an operator can read it.
func (p Policy) values() [][]byte {
	var values [][]byte
	for _, v := range []float64{p.DeclineAt, p.ReviewAt, p.MaxAmount} {
		values = append(values, strconv.AppendFloat(nil, v, 'g', -1, 64))
	}
	return values
}

// Check says what is wrong with a policy.
func (p Policy) Check() error {
	switch {
	case !(p.ReviewAt >= 0 && p.ReviewAt <= p.DeclineAt && p.DeclineAt <= 1):
		return fmt.Errorf("the policy reviews at a score of %v and declines at %v: both go from 0 to 1, and the first isn't above the second", p.ReviewAt, p.DeclineAt)
	case !(p.MaxAmount > 0) || math.IsInf(p.MaxAmount, 0):
		return fmt.Errorf("the policy's highest amount is %v: set one above 0", p.MaxAmount)
	}
	return nil
}

// parsePolicy reads what the policy's keys hold, in their order.
func parsePolicy(found []client.OpResult) (Policy, error) {
	var p Policy
	for i, into := range []*float64{&p.DeclineAt, &p.ReviewAt, &p.MaxAmount} {
		var err error
		if !found[i].Found {
			return p, fmt.Errorf("there is no key %q: publish the policy again", policyKeys[i])
		}
		if *into, err = strconv.ParseFloat(string(found[i].Value), 64); err != nil {
			return p, fmt.Errorf("key %q holds %q, which is no number: publish the policy again", policyKeys[i], found[i].Value)
		}
	}
	return p, p.Check()
}

func parseManifest(b []byte) (m Manifest, err error) {
	if err = json.Unmarshal(b, &m); err != nil {
		err = fmt.Errorf("read the manifest of key %q: %w", ManifestKey, err)
	}
	return m, err
}

func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // of our own types, which hold nothing that JSON hasn't got
	}
	return b
}
