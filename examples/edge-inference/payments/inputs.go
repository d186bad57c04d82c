package payments

import "math"

// Names of what a model may look at.
const (
	LogAmount = "log_amount" // of the payment
	Hour      = "hour"
	AmountOff = "amount_off" // how far that is from the card's profile
	HourOff   = "hour_off"
	Distance  = "distance"
)

// An input is one number that a model looks at, and the columns of a profile that it takes.
type input struct {
	columns []string
	value   func(Payment, Profile) float64
}

var inputs = map[string]input{
	LogAmount: {nil, func(p Payment, _ Profile) float64 { return math.Log(p.Amount) }},
	Hour:      {nil, func(p Payment, _ Profile) float64 { return p.Hour }},
	AmountOff: {[]string{MeanLogAmount}, func(p Payment, c Profile) float64 { return math.Abs(math.Log(p.Amount) - c[MeanLogAmount]) }},
	HourOff: {[]string{UsualHour}, func(p Payment, c Profile) float64 {
		off := math.Abs(p.Hour - c[UsualHour])
		return min(off, 24-off)
	}},
	Distance: {[]string{HomeX, HomeY}, func(p Payment, c Profile) float64 { return math.Hypot(p.X-c[HomeX], p.Y-c[HomeY]) }},
}

// Known says whether there is an input of that name.
func Known(name string) bool {
	_, ok := inputs[name]
	return ok
}

// ColumnsOf are the columns of a profile that inputs take.
func ColumnsOf(names []string) []string {
	var columns []string
	for _, name := range names {
		columns = append(columns, inputs[name].columns...)
	}
	return columns
}

// Inputs are the numbers that a model with these inputs looks at. The profile must have all
// their columns.
func Inputs(names []string, p Payment, c Profile) []float64 {
	values := make([]float64, len(names))
	for i, name := range names {
		values[i] = inputs[name].value(p, c)
	}
	return values
}
