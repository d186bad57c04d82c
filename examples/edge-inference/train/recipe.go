package main

import (
	"example.com/edge-inference/boost"
	"example.com/edge-inference/payments"
	"example.com/edge-inference/release"
)

// recipe says how a model is made.
type recipe struct {
	payments int // to learn from, and as many for the profiles of the cards
	inputs   []string
	rounds   int
}

// recipes are the models of the example. The second has more to learn from, and knows more about
// each card.
var recipes = map[int]recipe{
	1: {payments: 600, rounds: 60, inputs: []string{payments.LogAmount, payments.Hour, payments.AmountOff}},
	2: {payments: 8000, rounds: 150, inputs: []string{payments.LogAmount, payments.Hour, payments.AmountOff, payments.HourOff, payments.Distance}},
}

// trained is a model with the profiles that it was trained on.
type trained struct {
	model    *boost.Model
	profiles map[string]payments.Profile
}

// train makes profiles of one stream of payments and a model of another: profiles that had seen
// the very payments that the model learns from would look better than they are.
func (r recipe) train() trained {
	profiles := payments.Profiles(payments.Generate(payments.History, r.payments), payments.ColumnsOf(r.inputs))
	x, fraud := examples(payments.Generate(payments.Training, r.payments), r.inputs, profiles)
	return trained{boost.Train(x, fraud, boost.Options{Inputs: r.inputs, Rounds: r.rounds, Rate: 0.3}), profiles}
}

// measure answers the share of n held-out payments that the model gets right, and that of a model
// that takes none for fraud.
func (t trained) measure(n int) (accuracy, baseline float64) {
	all := payments.Generate(payments.HeldOut, n)
	x, fraud := examples(all, t.model.Inputs, t.profiles)
	genuine := 0
	for _, is := range fraud {
		if !is {
			genuine++
		}
	}
	return t.model.Accuracy(x, fraud), float64(genuine) / float64(n)
}

func (t trained) draft(p release.Policy) release.Draft {
	return release.Draft{Weights: t.model.Encode(), Profiles: t.profiles, Policy: &p}
}

func examples(all []payments.Labelled, inputs []string, profiles map[string]payments.Profile) (x [][]float64, fraud []bool) {
	for _, p := range all {
		x = append(x, payments.Inputs(inputs, p.Payment, profiles[p.Card]))
		fraud = append(fraud, p.Fraud)
	}
	return x, fraud
}
