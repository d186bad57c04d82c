package index

import (
	"cmp"
	"math"
	"runtime"
	"slices"
	"sync"
)

// Query asks for the nearest vectors.
type Query struct {
	Vector []float32 // of the set's dimension, finite
	K      int
	// Metric is the set's own, or another: then the search is exact.
	Metric Metric
	// Exact looks at all vectors.
	Exact bool
	// Match says which vectors count, by their attributes; nil: all. It is called
	// by several goroutines.
	Match func(attributes []byte) bool
	// Without leaves out the vector of this id.
	Without string
}

// Hit is a vector that was found. It shares memory with the set.
type Hit struct {
	Vector

	Score float64
}

// Result is what a search found.
type Result struct {
	Hits []Hit // nearest first, and by id where scores are equal
	// Exact says that all vectors that match were looked at.
	Exact bool
}

// wanted is how many candidates are scored exactly, at least: a share of the set,
// since what the sketches get wrong grows with it.
func (s *Set) wanted(k int) int { return max(s.leastCandidates, len(s.rows)/50, 10*k) }

// Search finds the nearest vectors. With fewer than K that match it finds them all.
func (s *Set) Search(q Query) Result {
	scorer := newScorer(q.Metric, q.Vector)
	if q.Exact || s.rotation == nil || q.Metric != s.metric {
		return Result{Hits: s.hits(s.scoreAll(q, &scorer)), Exact: true}
	}
	candidates, all := s.candidates(q, scorer.length)
	return Result{Hits: s.hits(s.scoreThese(q, candidates, &scorer)), Exact: all}
}

// matches says whether a row counts.
func (q *Query) matches(b *slab, i int) bool {
	return (q.Match == nil || q.Match(b.attributes[i])) && (q.Without == "" || b.ids[i] != q.Without)
}

// scoreAll scores each vector that matches.
func (s *Set) scoreAll(q Query, scorer *scorer) *nearest {
	total := newNearest(q, s)
	var mu sync.Mutex
	s.parallel(func(first int, slabs []*slab) {
		best := newNearest(q, s)
		for n, b := range slabs {
			for i := range b.ids {
				if q.matches(b, i) {
					best.add(int32(first+n*slabRows+i), s, scorer)
				}
			}
		}
		mu.Lock()
		defer mu.Unlock()
		total.merge(best)
	})
	return total
}

// scoreThese scores candidates. Each is a miss of all caches, which several
// processors wait for better than one.
func (s *Set) scoreThese(q Query, candidates []candidate, scorer *scorer) *nearest {
	const atLeast = 256 // for a goroutine
	processors := runtime.GOMAXPROCS(0)
	share := max(atLeast, (len(candidates)+processors-1)/processors)
	total := newNearest(q, s)
	var mu sync.Mutex
	var done sync.WaitGroup
	for part := range slices.Chunk(candidates, share) {
		done.Go(func() {
			best := newNearest(q, s)
			for _, c := range part {
				best.add(c.row, s, scorer)
			}
			mu.Lock()
			defer mu.Unlock()
			total.merge(best)
		})
	}
	done.Wait()
	return total
}

// candidates are the rows that the sketches rank first among those that match, all
// of equal rank included; all says that these are all rows that match.
func (s *Set) candidates(q Query, length float64) (picked []candidate, all bool) {
	e := newSketcher(s.metric, s.rotation, s.center).estimator(q.Vector, length)
	want := s.wanted(q.K)
	w := s.rotation.width / 64
	total := newPicker(want)
	var mu sync.Mutex
	s.parallel(func(first int, slabs []*slab) {
		p := newPicker(want)
		for n, b := range slabs {
			for i := range b.ids {
				rank := e.estimate(b.codes[i*w:(i+1)*w], b.gains[i], b.squares[i])
				if !(rank > p.bound) && q.matches(b, i) {
					p.add(candidate{rank: rank, row: int32(first + n*slabRows + i)})
				}
			}
		}
		mu.Lock()
		defer mu.Unlock()
		total.merge(p)
	})
	total.trim()
	slices.SortFunc(total.picked, func(a, b candidate) int { return cmp.Compare(a.row, b.row) }) // as memory lies
	return total.picked, math.IsInf(total.bound, 1)
}

// hits are what was found, in order.
func (s *Set) hits(best *nearest) []Hit {
	slices.SortFunc(best.heap, func(a, b ranked) int {
		if best.before(a, b) {
			return -1
		}
		return 1
	})
	hits := make([]Hit, len(best.heap))
	for n, r := range best.heap {
		b, i := s.at(int(r.row))
		hits[n] = Hit{Vector: b.vector(i, s.dimension), Score: r.score}
	}
	return hits
}
