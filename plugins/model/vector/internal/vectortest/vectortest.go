// Package vectortest makes vectors for tests and benchmarks.
package vectortest

import "math/rand/v2"

// Gaussian are vectors without any structure: the worst that a search can get.
func Gaussian(r *rand.Rand, n, dimension int) [][]float32 {
	all := make([][]float32, n)
	for i := range all {
		all[i] = make([]float32, dimension)
		for j := range all[i] {
			all[i][j] = float32(r.NormFloat64())
		}
	}
	return all
}

// Clustered are vectors in clusters of equal size, half as wide as they lie apart.
func Clustered(r *rand.Rand, n, dimension, clusters int) [][]float32 {
	centers := Gaussian(r, clusters, dimension)
	all := Gaussian(r, n, dimension)
	for i, x := range all {
		for j, c := range centers[i%clusters] {
			x[j] = c + 0.5*x[j]
		}
	}
	return all
}

// Offset are vectors without structure that have most in common, as embeddings of
// texts do: any two have a cosine of 0.9.
func Offset(r *rand.Rand, n, dimension int) [][]float32 {
	all := Gaussian(r, n, dimension)
	for _, x := range all {
		for j := range x {
			x[j] += 3
		}
	}
	return all
}
