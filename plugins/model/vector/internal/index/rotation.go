package index

import "math/bits"

// rotation spreads a vector over the bits of a sketch: coordinates get a random
// place and a random sign, then a Walsh-Hadamard transform mixes them. It keeps
// angles, and distances up to a factor. It is the same in every process: it
// depends on the dimension alone.
type rotation struct {
	place []int  // of each coordinate among the outputs
	sign  []bool // true: negative
	width int    // outputs: a power of two
}

// minWidth is the least number of a sketch's bits: few coordinates still have
// many directions.
const minWidth = 256

func newRotation(dimension int) *rotation {
	width := max(minWidth, 1<<bits.Len(uint(dimension-1)))
	r := &rotation{place: make([]int, width), sign: make([]bool, dimension), width: width}
	for i := range r.place {
		r.place[i] = i
	}
	seed := splitMix(0x756e69736f6e6462)
	for i := range dimension { // the first steps of Fisher and Yates's shuffle
		j := i + int(seed.next()%uint64(width-i))
		r.place[i], r.place[j] = r.place[j], r.place[i]
		r.sign[i] = seed.next()>>63 == 1
	}
	r.place = r.place[:dimension:dimension]
	return r
}

// splitMix is Steele, Lea and Flood's SplitMix64. Its numbers decide answers, so it
// stands here and not in a library that may change.
type splitMix uint64

func (s *splitMix) next() uint64 {
	*s += 0x9e3779b97f4a7c15
	z := uint64(*s)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// rotate writes the rotated vector to out, which has the width's length.
func rotate[T int64 | float64](r *rotation, out, x []T) {
	clear(out)
	for i, v := range x {
		if r.sign[i] {
			v = -v
		}
		out[r.place[i]] = v
	}
	for half := 1; half < len(out); half *= 2 {
		for i := 0; i < len(out); i += 2 * half {
			low, high := out[i:i+half], out[i+half:i+2*half]
			high = high[:len(low)]
			for j, a := range low {
				b := high[j]
				low[j], high[j] = a+b, a-b
			}
		}
	}
}
