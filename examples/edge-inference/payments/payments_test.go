package payments

import (
	"math"
	"reflect"
	"testing"
)

func TestGenerateIsDeterministic(t *testing.T) {
	a, b := Generate(Training, 500), Generate(Training, 1000)
	if !reflect.DeepEqual(a, b[:500]) {
		t.Error("a longer stream begins with other payments")
	}
	if reflect.DeepEqual(a, Generate(HeldOut, 500)) {
		t.Error("two streams are the same")
	}
}

// TestProfilesAreEstimates of habits, which the hour of a card that pays around midnight shows.
func TestProfilesAreEstimates(t *testing.T) {
	history := []Labelled{
		{Payment: Payment{Card: CardID(0), Amount: math.E, Hour: 23, X: 1, Y: 2}},
		{Payment: Payment{Card: CardID(0), Amount: math.E, Hour: 1, X: 3, Y: 2}},
		{Payment: Payment{Card: CardID(0), Amount: 1e6, Hour: 12, X: 9, Y: 9}, Fraud: true},
	}
	p := Profiles(history, []string{MeanLogAmount, UsualHour, HomeX, HomeY})
	got := p[CardID(0)]
	if off := Inputs([]string{HourOff}, Payment{Amount: 1, Hour: 0}, got)[0]; off > 1e-9 {
		t.Errorf("the usual hour is %v", got[UsualHour])
	}
	if math.Abs(got[MeanLogAmount]-1) > 1e-12 || got[HomeX] != 2 || got[HomeY] != 2 {
		t.Errorf("got %v", got)
	}
	if !reflect.DeepEqual(p[CardID(1)], got) {
		t.Errorf("a card without payments has %v, want the average %v", p[CardID(1)], got)
	}
}

func TestProfileAsARow(t *testing.T) {
	p := Profile{MeanLogAmount: 1.0 / 3, HomeX: -1e-300}
	got, err := ParseProfile(p.Row())
	if err != nil || !reflect.DeepEqual(got, p) {
		t.Errorf("got %v, %v, want %v", got, err, p)
	}
	for _, text := range []string{"", "much", "NaN", "+Inf"} {
		if _, err := ParseProfile(map[string][]byte{HomeX: []byte(text)}); err == nil {
			t.Errorf("%q was taken for a number", text)
		}
	}
}
