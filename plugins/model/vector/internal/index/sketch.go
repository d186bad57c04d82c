package index

import (
	"math"
	"math/bits"
)

// A sketch is one bit for each rotated coordinate: on which side of the center it
// lies. With two numbers for each vector it estimates inner products of what a query
// and a vector have beyond the center:
//
//	<v, u> is about gain * <v, signs of u>, where gain = |u|^2 / sum of |u_j|
//
// which is exact where v is parallel to u, and whose error is at random otherwise
// (the estimator of Gao and Long's RaBitQ, SIGMOD 2024). The query keeps four bits
// for each coordinate, so that the sum over signs is four counts of bits.
const planes = 4

// topLevel is the largest of the query's levels: odd numbers from -15 to 15.
const topLevel = 1<<planes - 1

// sketcher makes the sketches of a set. It isn't safe for concurrent use.
type sketcher struct {
	metric   Metric
	rotation *rotation
	center   []float64
	fixed    []int64
	rotated  []int64
}

func newSketcher(m Metric, r *rotation, center []float64) *sketcher {
	return &sketcher{
		metric: m, rotation: r, center: center,
		fixed: make([]int64, len(r.place)), rotated: make([]int64, r.width),
	}
}

// rotate leaves a vector's rotated coordinates in s.rotated and answers their unit.
func (s *sketcher) rotate(x []float32, length float64) float64 {
	exponent := quantize(s.metric, s.fixed, x, length)
	rotate(s.rotation, s.rotated, s.fixed)
	return unit(exponent)
}

// sketch writes a vector's bits to code and answers its gain and the square of its
// distance to the center, both in rotated units.
func (s *sketcher) sketch(code []uint64, x []float32, length float64) (gain, square float64) {
	u := s.rotate(x, length)
	var absolute float64
	for w := range code {
		var word uint64
		for b := range 64 {
			i := w*64 + b
			d := float64(s.rotated[i])*u - s.center[i] // a power of two: the product is exact
			if d > 0 {
				word |= 1 << b
			}
			absolute += math.Abs(d)
			square += float64(d * d)
		}
		code[w] = word
	}
	if absolute > 0 {
		gain = square / absolute
	}
	return gain, square
}

// estimator ranks vectors by their sketches for one query: less is nearer.
type estimator struct {
	code   [][planes]uint64 // for each word of a sketch
	whole  int              // topLevel * width
	factor float64
	far    bool // the vector's distance to the center counts
}

// estimator makes the estimator of a query. An inner product with the center is the
// same for all vectors and left out; so, for the other metrics, is the query's own
// distance to the center.
func (s *sketcher) estimator(query []float32, length float64) *estimator {
	u := s.rotate(query, length)
	values := make([]float64, s.rotation.width)
	var largest float64
	for i, v := range s.rotated {
		values[i] = float64(v) * u
		if s.metric != Dot {
			values[i] -= s.center[i]
		}
		largest = max(largest, math.Abs(values[i]))
	}
	e := &estimator{
		code:  make([][planes]uint64, s.rotation.width/64),
		whole: topLevel * s.rotation.width, far: s.metric != Dot,
	}
	if largest == 0 {
		return e
	}
	step := largest / topLevel // half of the distance between two levels
	for i, v := range values {
		level := int(math.Floor(v/step/2)) + (topLevel+1)/2
		level = min(max(level, 0), topLevel)
		for p := range planes {
			if level>>p&1 == 1 {
				e.code[i/64][p] |= 1 << (i % 64)
			}
		}
	}
	e.factor = step
	if e.far {
		e.factor = 2 * step
	}
	return e
}

// estimate ranks one vector.
func (e *estimator) estimate(code []uint64, gain, square float64) float64 {
	var c0, c1, c2, c3 int
	q := e.code[:len(code)]
	for i, w := range code {
		p := &q[i]
		c0 += bits.OnesCount64(p[0] ^ w)
		c1 += bits.OnesCount64(p[1] ^ w)
		c2 += bits.OnesCount64(p[2] ^ w)
		c3 += bits.OnesCount64(p[3] ^ w)
	}
	differ := c0 + 2*c1 + 4*c2 + 8*c3
	product := float64(gain * float64(e.factor*float64(e.whole-2*differ)))
	if e.far {
		return square - product
	}
	return -product
}
