package index

import (
	"maps"
	"math"
	"math/bits"
	"slices"
)

// fixedBits is how fine coordinates are quantized before they are summed and
// rotated: as fine as a float32's mantissa for the largest one.
const fixedBits = 24

// quantize writes a vector as integers in units of 2^(exponent-fixedBits). Sums of
// integers don't depend on the order in which they were made, as sums of floats do:
// that is what makes the index independent of its history.
func quantize(m Metric, out []int64, x []float32, length float64) (exponent int) {
	scale := 0.0
	if m == Cosine { // only the direction counts
		if length > 0 {
			scale = (1 << fixedBits) / length
		}
	} else {
		var largest float32
		for _, v := range x {
			largest = max(largest, v, -v)
		}
		_, exponent = math.Frexp(float64(largest))
		scale = math.Ldexp(1, fixedBits-exponent)
	}
	for i, v := range x {
		out[i] = int64(math.RoundToEven(float64(v) * scale))
	}
	return exponent
}

// unit is what an integer of a quantized vector counts.
func unit(exponent int) float64 { return math.Ldexp(1, exponent-fixedBits) }

// sums are the sums of a set's quantized vectors, apart for each exponent.
type sums map[int]*sum

type sum struct {
	count       int
	coordinates []int64
	// squares is the sum of the squares of all coordinates, 128 bits.
	squaresHigh, squaresLow uint64
}

// add takes a vector in, or out again where sign is -1.
func (s sums) add(exponent int, x []int64, sign int64) {
	to := s[exponent]
	if to == nil {
		to = &sum{coordinates: make([]int64, len(x))}
		s[exponent] = to
	}
	var square uint64 // 4096 squares of 2^24 have 2^60
	for i, v := range x {
		to.coordinates[i] += sign * v
		square += uint64(v * v)
	}
	var carry uint64
	if sign > 0 {
		to.squaresLow, carry = bits.Add64(to.squaresLow, square, 0)
		to.squaresHigh += carry
	} else {
		to.squaresLow, carry = bits.Sub64(to.squaresLow, square, 0)
		to.squaresHigh -= carry
	}
	if to.count += int(sign); to.count == 0 {
		delete(s, exponent)
	}
}

// merge takes in the sums of other vectors.
func (s sums) merge(other sums) {
	for exponent, from := range other {
		to := s[exponent]
		if to == nil {
			s[exponent] = from
			continue
		}
		to.count += from.count
		for i, v := range from.coordinates {
			to.coordinates[i] += v
		}
		var carry uint64
		to.squaresLow, carry = bits.Add64(to.squaresLow, from.squaresLow, 0)
		to.squaresHigh += from.squaresHigh + carry
	}
}

// center is the point around which sketches are made, in rotated coordinates: the
// mean of the set on a coarse grid. Vectors of text have much in common; signs tell
// them apart only around their mean. The grid's step is a quarter to a half of the
// deviation of a rotated coordinate, so that the center hardly ever moves when
// a vector comes or goes: when it does, all sketches are made anew.
func (s sums) center(r *rotation) []float64 {
	mean := make([]float64, len(r.place))
	var count int
	var squares float64 // the mean of the vectors' squared lengths
	for _, exponent := range slices.Backward(slices.Sorted(maps.Keys(s))) {
		one := s[exponent]
		count += one.count
		u := unit(exponent)
		for i, v := range one.coordinates {
			mean[i] += float64(v) * u // by a power of two: exact
		}
		total := float64(float64(one.squaresHigh)*(1<<32)*(1<<32)) + float64(one.squaresLow)
		squares += float64(float64(total*u) * u)
	}
	n := max(1, float64(count))
	squares /= n
	variance := squares
	for i := range mean {
		mean[i] /= n
		variance -= float64(mean[i] * mean[i])
	}
	// What is left of a difference of two large numbers is no variance.
	variance = max(variance, math.Ldexp(squares, -40))

	center := make([]float64, r.width)
	if variance <= 0 {
		return center
	}
	rotate(r, center, mean)
	_, e := math.Frexp(variance)            // 2^(e-1) <= variance
	step := math.Ldexp(1, floorHalf(e-1)-1) // at most half of its root
	for i, v := range center {
		center[i] = float64(math.RoundToEven(v/step)) * step
	}
	return center
}

// floorHalf is half of an integer, rounded down.
func floorHalf(i int) int { return i >> 1 }
