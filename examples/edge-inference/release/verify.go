package release

import (
	"fmt"
	"maps"

	"example.com/edge-inference/payments"
)

// Verify says what is wrong with an answer for a payment, given the release that it names: every
// part that it was made with must be that release's, and the decision what these parts decide.
func Verify(got Answer, p payments.Payment, truth *Release) error {
	want, err := truth.Decide(p)
	switch {
	case err != nil:
		return err
	case got.Release != want.Release:
		return fmt.Errorf("it names release %d and is held against %d", got.Release, want.Release)
	case got.Weights != want.Weights:
		return fmt.Errorf("release %d was answered with weights %s, its own are %s", want.Release, got.Weights, want.Weights)
	case got.Features != want.Features || !maps.Equal(got.Profile, want.Profile):
		return fmt.Errorf("release %d was answered with features %s %v, its own are %s %v", want.Release, got.Features, got.Profile, want.Features, want.Profile)
	case got.Policy != want.Policy:
		return fmt.Errorf("release %d was answered with policy %+v, its own is %+v", want.Release, got.Policy, want.Policy)
	case got.Score != want.Score || got.Decision != want.Decision:
		return fmt.Errorf("release %d answers %s at %v, and the answer was %s at %v", want.Release, want.Decision, want.Score, got.Decision, got.Score)
	}
	return nil
}
