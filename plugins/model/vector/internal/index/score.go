package index

import "math"

// All that decides an answer is computed in one fixed order of float64 operations,
// so that each machine computes the same bits. A product of two float32 is exact in
// float64, so that it makes no difference whether the compiler fuses it with the
// addition behind it; any other product is rounded by an explicit conversion, which
// forbids the fusion. SIMD in assembly would add in another order on each processor.

// norm is a vector's Euclidean length.
func norm(x []float32) float64 {
	var s0, s1, s2, s3 float64
	for len(x) >= 4 {
		a, b, c, d := float64(x[0]), float64(x[1]), float64(x[2]), float64(x[3])
		s0, s1, s2, s3 = s0+a*a, s1+b*b, s2+c*c, s3+d*d
		x = x[4:]
	}
	for _, v := range x {
		s0 += float64(v) * float64(v)
	}
	return math.Sqrt((s0 + s1) + (s2 + s3))
}

// dot is the inner product. q holds float32 values, converted once for all rows.
func dot(q []float64, x []float32) float64 {
	var s0, s1, s2, s3 float64
	for len(q) >= 4 && len(x) >= 4 {
		s0 += q[0] * float64(x[0])
		s1 += q[1] * float64(x[1])
		s2 += q[2] * float64(x[2])
		s3 += q[3] * float64(x[3])
		q, x = q[4:], x[4:]
	}
	for i, v := range x {
		s0 += q[i] * float64(v)
	}
	return (s0 + s1) + (s2 + s3)
}

// distance is the Euclidean distance.
func distance(q []float64, x []float32) float64 {
	var s0, s1, s2, s3 float64
	for len(q) >= 4 && len(x) >= 4 {
		a, b := q[0]-float64(x[0]), q[1]-float64(x[1])
		c, d := q[2]-float64(x[2]), q[3]-float64(x[3])
		s0 += float64(a * a)
		s1 += float64(b * b)
		s2 += float64(c * c)
		s3 += float64(d * d)
		q, x = q[4:], x[4:]
	}
	for i, v := range x {
		a := q[i] - float64(v)
		s0 += float64(a * a)
	}
	return math.Sqrt((s0 + s1) + (s2 + s3))
}

// scorer scores rows for one query.
type scorer struct {
	metric Metric
	query  []float64
	length float64 // of the query
}

func newScorer(m Metric, query []float32) scorer {
	s := scorer{metric: m, query: make([]float64, len(query)), length: norm(query)}
	for i, v := range query {
		s.query[i] = float64(v)
	}
	return s
}

// score is the score of a vector of a length, rounded to the precision that answers
// have, so that equal answers are equal here.
func (s *scorer) score(x []float32, length float64) float64 {
	var v float64
	switch s.metric {
	case L2:
		v = distance(s.query, x)
	case Dot:
		v = dot(s.query, x)
	default:
		// A vector without a direction is as far from everything as can be told.
		if v = 0; length > 0 && s.length > 0 {
			v = dot(s.query, x) / float64(s.length*length)
		}
	}
	return round(v)
}

// smallestNormal is the smallest float32 that has all its digits.
const smallestNormal = 0x1p-126

// round rounds to float32, within its range.
func round(v float64) float64 {
	if a := math.Abs(v); a > math.MaxFloat32 || a < smallestNormal {
		return v
	}
	return float64(float32(v))
}

// nearer says whether a score is nearer than another.
func (m Metric) nearer(a, b float64) bool {
	if m == L2 {
		return a < b
	}
	return a > b
}
