// Package boost is a small model of a real kind: gradient-boosted decision stumps with logistic
// loss, trained and evaluated in Go. A stump asks one question, "is this input below that
// threshold?"; the score is the logistic function of the sum of all answers.
package boost

import (
	"cmp"
	"math"
	"slices"
)

// lambda keeps a stump that few examples speak for from shouting.
const lambda = 1.0

// Model tells apart two classes. It is immutable, and safe for concurrent use.
type Model struct {
	Inputs []string // what the numbers are that Score takes, in their order
	Bias   float64
	Stumps []Stump
}

// Stump adds Left to the sum where the input is below the threshold, and Right where it isn't.
type Stump struct {
	Input       int
	Threshold   float64
	Left, Right float64
}

// Options say how a model is trained.
type Options struct {
	Inputs []string
	Rounds int     // how many stumps, at most
	Rate   float64 // how much of each stump counts
}

// Score is the probability that the model gives the positive class.
func (m *Model) Score(x []float64) float64 {
	sum := m.Bias
	for _, s := range m.Stumps {
		sum += s.eval(x)
	}
	return sigmoid(sum)
}

func (s Stump) eval(x []float64) float64 {
	if x[s.Input] < s.Threshold {
		return s.Left
	}
	return s.Right
}

func sigmoid(v float64) float64 { return 1 / (1 + math.Exp(-v)) }

// Train learns from examples, each of which has a number for each input. Same examples, same
// model: nothing in it is random.
func Train(x [][]float64, positive []bool, o Options) *Model {
	t := newTrainer(x, positive, len(o.Inputs))
	m := &Model{Inputs: slices.Clone(o.Inputs), Bias: t.bias}
	for range o.Rounds {
		s, ok := t.best(o.Rate)
		if !ok {
			break // no question tells the examples apart any further
		}
		m.Stumps = append(m.Stumps, s)
		t.add(s)
	}
	return m
}

// trainer holds the examples and how wrong the model so far is about each.
type trainer struct {
	x      [][]float64
	y      []float64
	order  [][]int // by input: the examples in rising order of it
	bias   float64
	sum    []float64 // of the model so far, by example
	grad   []float64
	hess   []float64
	totalG float64
	totalH float64
}

func newTrainer(x [][]float64, positive []bool, inputs int) *trainer {
	t := &trainer{x: x, y: make([]float64, len(x)), grad: make([]float64, len(x)), hess: make([]float64, len(x)), sum: make([]float64, len(x))}
	share := 0.5 // of an example more on either side, so that the bias is finite
	for i, is := range positive {
		if is {
			t.y[i] = 1
			share++
		}
	}
	share /= float64(len(x)) + 1
	t.bias = math.Log(share / (1 - share))
	for input := range inputs {
		order := make([]int, len(x))
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(x[a][input], x[b][input]) })
		t.order = append(t.order, order)
	}
	for i := range t.sum {
		t.sum[i] = t.bias
	}
	t.derive()
	return t
}

// derive takes the derivatives of the loss at the model so far.
func (t *trainer) derive() {
	t.totalG, t.totalH = 0, 0
	for i, sum := range t.sum {
		p := sigmoid(sum)
		t.grad[i], t.hess[i] = t.y[i]-p, p*(1-p)
		t.totalG += t.grad[i]
		t.totalH += t.hess[i]
	}
}

func (t *trainer) add(s Stump) {
	for i := range t.sum {
		t.sum[i] += s.eval(t.x[i])
	}
	t.derive()
}

// best is the stump that lowers the loss most.
func (t *trainer) best(rate float64) (best Stump, ok bool) {
	gain := t.totalG * t.totalG / (t.totalH + lambda)
	for input, order := range t.order {
		var g, h float64
		for k := range len(order) - 1 {
			i := order[k]
			g += t.grad[i]
			h += t.hess[i]
			here, next := t.x[i][input], t.x[order[k+1]][input]
			if here == next {
				continue
			}
			restG, restH := t.totalG-g, t.totalH-h
			if now := g*g/(h+lambda) + restG*restG/(restH+lambda); now > gain+1e-9 {
				gain, ok = now, true
				best = Stump{Input: input, Threshold: here + (next-here)/2, Left: rate * g / (h + lambda), Right: rate * restG / (restH + lambda)}
			}
		}
	}
	return best, ok
}

// Accuracy is the share of examples that the model puts into the right class, taking a score of
// one half and more for positive.
func (m *Model) Accuracy(x [][]float64, positive []bool) float64 {
	right := 0
	for i := range x {
		if m.Score(x[i]) >= 0.5 == positive[i] {
			right++
		}
	}
	return float64(right) / float64(len(x))
}
