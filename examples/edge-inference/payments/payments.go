// Package payments makes the data of the example: payments by card, some of them fraud.
//
// The data is generated from a fixed seed and stands for nobody's payments. Each card has habits
// (what it spends, when, and where). Its owner keeps to them with some spread; who has stolen it
// doesn't know them. A few labels are wrong, as they are in life.
package payments

import (
	"fmt"
	"math"
	"math/rand/v2"
)

// Cards is how many cards there are.
const Cards = 120

// Shares of all payments.
const (
	fraudShare = 0.3
	wrongLabel = 0.02
)

// seed is that of everything that is generated.
const seed = 20261122

// A Payment is what the terminal knows of a payment.
type Payment struct {
	Card   string  `json:"card"`
	Amount float64 `json:"amount"`
	Hour   float64 `json:"hour"` // of the day, 0 to 24
	X      float64 `json:"x"`    // where, in units of a country's size
	Y      float64 `json:"y"`
}

// Check says what is wrong with a payment.
func (p Payment) Check() error {
	switch {
	case p.Amount <= 0:
		return fmt.Errorf("the payment's amount is %v: give one above 0", p.Amount)
	case p.Hour < 0 || p.Hour > 24:
		return fmt.Errorf("the payment's hour is %v: give one from 0 to 24", p.Hour)
	}
	return nil
}

// Labelled is a payment of which it turned out later what it was.
type Labelled struct {
	Payment
	Fraud bool
}

// Stream is a series of payments that has nothing in common with the others but the cards.
type Stream uint64

// Streams of payments.
const (
	History  Stream = iota + 1 // what the profiles of the cards are made of
	Training                   // what models learn from
	HeldOut                    // what they are measured with, which no model has seen
	Live                       // what edges are asked
)

// CardID is the name of the i-th card.
func CardID(i int) string { return fmt.Sprintf("card-%03d", i) }

// habits are what nobody but a card's owner knows; profiles are estimates of them.
type habits struct{ logAmount, hour, x, y float64 }

// Generate makes the first n payments of a stream, the same ones each time.
func Generate(s Stream, n int) []Labelled {
	cards := generateCards()
	r := rand.New(rand.NewPCG(seed, uint64(s)))
	all := make([]Labelled, n)
	for i := range all {
		card := r.IntN(Cards)
		fraud := r.Float64() < fraudShare
		p := Labelled{Payment: genuine(r, cards[card]), Fraud: fraud}
		if fraud {
			p.Payment = stolen(r)
		}
		p.Card = CardID(card)
		p.Fraud = p.Fraud != (r.Float64() < wrongLabel)
		all[i] = p
	}
	return all
}

func generateCards() []habits {
	r := rand.New(rand.NewPCG(seed, 0))
	cards := make([]habits, Cards)
	for i := range cards {
		cards[i] = habits{logAmount: 3 + r.NormFloat64(), hour: 24 * r.Float64(), x: r.Float64(), y: r.Float64()}
	}
	return cards
}

// genuine is a payment by the card's owner.
func genuine(r *rand.Rand, h habits) Payment {
	return Payment{
		Amount: math.Exp(h.logAmount + 0.5*r.NormFloat64()),
		Hour:   wrap(h.hour + 2.5*r.NormFloat64()),
		X:      h.x + 0.1*r.NormFloat64(),
		Y:      h.y + 0.1*r.NormFloat64(),
	}
}

// stolen is a payment by somebody who knows nothing of the card's owner.
func stolen(r *rand.Rand) Payment {
	return Payment{
		Amount: math.Exp(3.6 + 1.1*r.NormFloat64()),
		Hour:   24 * r.Float64(),
		X:      r.Float64(),
		Y:      r.Float64(),
	}
}

// wrap brings an hour into the day.
func wrap(hour float64) float64 {
	return math.Mod(math.Mod(hour, 24)+24, 24)
}
