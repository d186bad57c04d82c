package payments

import (
	"fmt"
	"math"
	"strconv"
)

// Columns of a profile.
const (
	MeanLogAmount = "mean_log_amount"
	UsualHour     = "usual_hour"
	HomeX         = "home_x"
	HomeY         = "home_y"
)

// A Profile is what is known of a card: the features that a model is given besides the payment
// itself, by column.
type Profile map[string]float64

// Profiles estimates what each card usually does, from payments that were no fraud. A card without
// any has the average of all cards.
func Profiles(history []Labelled, columns []string) map[string]Profile {
	var all habitSum
	sums := make(map[string]*habitSum, Cards)
	for i := range Cards {
		sums[CardID(i)] = &habitSum{}
	}
	for _, p := range history {
		if !p.Fraud {
			all.add(p.Payment)
			sums[p.Card].add(p.Payment)
		}
	}
	profiles := make(map[string]Profile, len(sums))
	for card, sum := range sums {
		if sum.n == 0 {
			sum = &all
		}
		profiles[card] = sum.profile(columns)
	}
	return profiles
}

type habitSum struct{ n, logAmount, sin, cos, x, y float64 }

func (s *habitSum) add(p Payment) {
	angle := p.Hour / 24 * 2 * math.Pi
	s.n++
	s.logAmount += math.Log(p.Amount)
	s.sin += math.Sin(angle)
	s.cos += math.Cos(angle)
	s.x += p.X
	s.y += p.Y
}

func (s *habitSum) profile(columns []string) Profile {
	n := max(s.n, 1)
	known := Profile{
		MeanLogAmount: s.logAmount / n,
		UsualHour:     wrap(math.Atan2(s.sin, s.cos) / (2 * math.Pi) * 24), // 23 and 1 o'clock make midnight, not noon
		HomeX:         s.x / n,
		HomeY:         s.y / n,
	}
	p := make(Profile, len(columns))
	for _, column := range columns {
		p[column] = known[column]
	}
	return p
}

// Row is the profile as columns of a row: decimal text that reads back as the same numbers.
func (p Profile) Row() map[string][]byte {
	row := make(map[string][]byte, len(p))
	for column, v := range p {
		row[column] = strconv.AppendFloat(nil, v, 'g', -1, 64)
	}
	return row
}

// ParseProfile reads what Row wrote.
func ParseProfile(row map[string][]byte) (Profile, error) {
	p := make(Profile, len(row))
	for column, text := range row {
		v, err := strconv.ParseFloat(string(text), 64)
		if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, fmt.Errorf("column %q holds %q, which is no number: publish the features again", column, text)
		}
		p[column] = v
	}
	return p, nil
}
