package main

import (
	"bytes"
	"testing"
)

// TestTrainingIsDeterministic: the same data makes the same bytes.
func TestTrainingIsDeterministic(t *testing.T) {
	r := recipes[1]
	a, b := r.train(), r.train()
	if !bytes.Equal(a.model.Encode(), b.model.Encode()) {
		t.Error("training twice made two models")
	}
}

// TestTheSecondModelIsBetter on payments that neither has seen.
func TestTheSecondModelIsBetter(t *testing.T) {
	first, baseline := recipes[1].train().measure(heldOut)
	second, _ := recipes[2].train().measure(heldOut)
	t.Logf("never suspecting: %.3f, first: %.3f, second: %.3f", baseline, first, second)
	if first < baseline+0.03 || second < first+0.05 {
		t.Errorf("the models get %.3f and %.3f right, never suspecting any %.3f: each should do clearly better than the one before", first, second, baseline)
	}
}
