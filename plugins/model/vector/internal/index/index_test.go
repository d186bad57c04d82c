package index

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/unisondb/unisondb/plugins/model/vector/internal/vectortest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var metrics = []Metric{Cosine, Dot, L2}

// seeds are a few, or as many as DURATION leaves time for.
func seeds(t *testing.T, few uint64) iter.Seq[uint64] {
	t.Helper()
	long := os.Getenv("DURATION")
	var last time.Time
	if long != "" {
		d, err := time.ParseDuration(long)
		if err != nil {
			t.Fatal(err)
		}
		last = time.Now().Add(d / 6) // two tests, three metrics
	}
	return func(yield func(uint64) bool) {
		for seed := uint64(0); seed < few || time.Now().Before(last); seed++ {
			if !yield(seed) {
				return
			}
		}
	}
}

// small is a set that uses sketches although it is small.
func small(m Metric, dimension int) *Set {
	s := NewSet(m, dimension)
	s.exactFloats, s.leastCandidates = 16*dimension, 20
	return s
}

// integers are vectors of small integers: sums of their products are exact, so that
// an oracle may add in any order, and many scores are equal.
func integers(r *rand.Rand, n, dimension int) [][]float32 {
	out := make([][]float32, n)
	for i := range out {
		out[i] = make([]float32, dimension)
		for j := range out[i] {
			out[i][j] = float32(r.IntN(7) - 3)
		}
	}
	return out
}

// oracle sorts all vectors that match, in the plainest way.
func oracle(m Metric, all map[string]Vector, q Query) []Hit {
	var hits []Hit
	for id, v := range all {
		if q.Match != nil && !q.Match(v.Attributes) || id == q.Without {
			continue
		}
		var product, a, b, d float64
		for i, x := range v.Values {
			x, y := float64(x), float64(q.Vector[i])
			product, a, b, d = product+x*y, a+x*x, b+y*y, d+(x-y)*(x-y)
		}
		score := product
		switch {
		case m == L2:
			score = -math.Sqrt(d)
		case m == Cosine && a*b == 0:
			score = 0
		case m == Cosine:
			score = product / (math.Sqrt(a) * math.Sqrt(b))
		}
		hits = append(hits, Hit{Vector: v, Score: float64(float32(score))})
	}
	slices.SortFunc(hits, func(a, b Hit) int { return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(a.ID, b.ID)) })
	if m == L2 {
		for i := range hits {
			hits[i].Score = 0 - hits[i].Score
		}
	}
	return hits[:min(q.K, len(hits))]
}

// history makes a set's members come and go, and keeps what is left.
type history struct {
	r    *rand.Rand
	set  *Set
	left map[string]Vector
}

func (h *history) step(pool [][]float32) {
	id := fmt.Sprint("id", h.r.IntN(400))
	if h.r.IntN(4) == 0 {
		h.set.Delete(id)
		delete(h.left, id)
		return
	}
	v := Vector{ID: id, Values: pool[h.r.IntN(len(pool))], Metadata: []byte(id), Attributes: []byte{byte(h.r.IntN(10))}}
	h.set.Put(v)
	h.left[id] = v
}

func TestExactAgainstOracle(t *testing.T) {
	for _, m := range metrics {
		for seed := range seeds(t, 2) {
			r := rand.New(rand.NewPCG(seed, 1))
			dimension := 1 + r.IntN(40)
			h := history{r: r, set: small(m, dimension), left: map[string]Vector{}}
			pool := integers(r, 1500, dimension)
			for i := range 3000 {
				h.step(pool)
				if i%497 != 0 {
					continue
				}
				h.set.Refresh()
				for n := range 8 {
					q := Query{Vector: pool[r.IntN(len(pool))], K: 1 + r.IntN(30), Metric: metrics[r.IntN(3)], Exact: n%2 == 0}
					if n%3 == 0 {
						q.Match = func(a []byte) bool { return a[0] == byte(n) }
					}
					if n%4 == 0 {
						q.Without = fmt.Sprint("id", r.IntN(len(pool)))
					}
					got := h.set.Search(q)
					if want := oracle(q.Metric, h.left, q); got.Exact && !equalHits(got.Hits, want) {
						t.Fatalf("seed %d, %v, step %d, query %d by %v of %d vectors:\ngot  %v\nwant %v", seed, m, i, n, q.Metric, len(h.left), short(got.Hits), short(want))
					}
					if q.Exact && !got.Exact {
						t.Fatal("an exact search says it wasn't")
					}
				}
			}
			if h.set.Len() != len(h.left) {
				t.Fatalf("%d vectors, want %d", h.set.Len(), len(h.left))
			}
			for id, v := range h.left {
				if got, ok := h.set.Get(id); !ok || !slices.Equal(got.Values, v.Values) || string(got.Metadata) != id {
					t.Fatalf("Get(%q) = %v, %v", id, got, ok)
				}
			}
		}
	}
}

func equalHits(a, b []Hit) bool {
	return slices.EqualFunc(a, b, func(a, b Hit) bool { return a.ID == b.ID && a.Score == b.Score })
}

func short(hits []Hit) (out []string) {
	for _, h := range hits {
		out = append(out, fmt.Sprintf("%s %v", h.ID, h.Score))
	}
	return out
}

// TestSketchedSearch: what is found has the right score and order, a selective filter
// finds all there is, and next to nothing is missed.
func TestSketchedSearch(t *testing.T) {
	const rows, dimension = 2000, 32
	for _, m := range metrics {
		r := rand.New(rand.NewPCG(3, 4))
		pool := vectortest.Clustered(r, rows+30, dimension, 100)
		s, all := small(m, dimension), map[string]Vector{}
		for i, x := range pool[:rows] {
			v := Vector{ID: fmt.Sprint(i), Values: x, Attributes: []byte{byte(i % 256)}}
			s.Put(v)
			all[v.ID] = v
		}
		s.Refresh()
		found := 0
		for _, x := range pool[rows:] {
			q := Query{Vector: x, K: 10, Metric: m}
			got, want := s.Search(q), s.Search(Query{Vector: x, K: 10, Metric: m, Exact: true})
			if got.Exact || !want.Exact {
				t.Fatalf("%v: exact is %v, want false", m, got.Exact)
			}
			for _, h := range got.Hits {
				if exact := newScorer(m, x); h.Score != exact.score(all[h.ID].Values, norm(all[h.ID].Values)) {
					t.Fatalf("%v: %s has the score %v", m, h.ID, h.Score)
				}
			}
			found += common(got, want)
			q.Match = func(a []byte) bool { return a[0] == 7 } // some of them
			if got := s.Search(q); !got.Exact || len(got.Hits) < 7 || !equalHits(got.Hits, s.Search(Query{Vector: x, K: 10, Metric: m, Match: q.Match, Exact: true}).Hits) {
				t.Fatalf("%v, filtered: %v", m, short(got.Hits))
			}
		}
		if recall := float64(found) / 300; recall < 0.9 {
			t.Errorf("%v: recall %.3f", m, recall)
		}
	}
}

// TestHistoryDoesNotCount: sets that hold the same vectors answer the same, bit by
// bit, however they came to hold them.
func TestHistoryDoesNotCount(t *testing.T) {
	for _, m := range metrics {
		for seed := range seeds(t, 2) {
			r := rand.New(rand.NewPCG(seed, 7))
			dimension := 2 + r.IntN(40)
			kind := []func(*rand.Rand, int, int) [][]float32{vectortest.Gaussian, vectortest.Offset, integers}[seed%3]
			pool := kind(r, 400, dimension)
			for i, x := range pool { // lengths of several powers of two, and a mean that moves
				for j := range x {
					x[j] = (x[j] + float32(i/50)) * float32(math.Ldexp(1, i%5))
				}
			}
			h := history{r: r, set: small(m, dimension), left: map[string]Vector{}}
			for i := range 1500 {
				first := min(i/3, 300)
				if h.step(pool[first : first+100]); i%149 == 0 {
					h.set.Refresh()
				}
			}
			h.set.Refresh()
			ids := slices.Sorted(maps.Keys(h.left))
			for _, id := range ids[:len(ids)/3] { // rows move, and the center doesn't
				h.set.Delete(id)
				h.set.Put(h.left[id])
			}
			h.set.Refresh()
			other := small(m, dimension)
			r.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
			for _, id := range ids {
				other.Put(h.left[id])
			}
			other.Refresh()
			if h.set.rotation == nil {
				t.Fatal("the test needs sketches")
			}
			sameSketches(t, h.set, other)
			for range 40 {
				q := Query{Vector: pool[r.IntN(len(pool))], K: 1 + r.IntN(3), Metric: m}
				if r.IntN(2) == 0 {
					q.Match = func(a []byte) bool { return a[0] < 7 }
				}
				if one, two := h.set.Search(q), other.Search(q); !reflect.DeepEqual(one, two) {
					t.Fatalf("%v, seed %d: after one history\n%v\nafter another\n%v", m, seed, short(one.Hits), short(two.Hits))
				}
			}
		}
	}
}

// sameSketches compares what searches go by.
func sameSketches(t *testing.T, a, b *Set) {
	t.Helper()
	if !slices.Equal(a.center, b.center) {
		t.Fatalf("%v: the centers are\n%v\n%v", a.metric, a.center, b.center)
	}
	w := a.rotation.width / 64
	for id := range a.rows {
		one, i := a.at(int(a.rows[id]))
		two, j := b.at(int(b.rows[id]))
		if !slices.Equal(one.codes[i*w:(i+1)*w], two.codes[j*w:(j+1)*w]) || one.gains[i] != two.gains[j] || one.squares[i] != two.squares[j] {
			t.Fatalf("%v: the sketches of %q differ", a.metric, id)
		}
	}
}

// TestSketchesComeAndGo: a set crosses the size from which it has sketches.
func TestSketchesComeAndGo(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	pool := vectortest.Gaussian(r, 64, 8)
	s := small(L2, 8)
	for round := range 3 {
		for i, x := range pool {
			s.Put(Vector{ID: fmt.Sprint(i), Values: x})
		}
		s.Refresh()
		if s.rotation == nil {
			t.Fatalf("round %d: no sketches of %d vectors", round, s.Len())
		}
		large := s.Memory()
		for i := range 50 {
			s.Delete(fmt.Sprint(i))
		}
		s.Refresh()
		if s.rotation != nil || s.Memory() >= large {
			t.Fatalf("round %d: sketches of %d vectors, %d bytes after %d", round, s.Len(), s.Memory(), large)
		}
	}
	for i := range 64 {
		s.Delete(fmt.Sprint(i))
	}
	if s.Refresh(); s.Len() != 0 || s.Memory() != 0 {
		t.Errorf("%d vectors, %d bytes left", s.Len(), s.Memory())
	}
}

// TestExtremes: values at the ends of float32, equal vectors, and vectors without
// any deviation are found like others.
func TestExtremes(t *testing.T) {
	for _, m := range metrics {
		for _, scale := range []float32{math.SmallestNonzeroFloat32, 1e-30, 1, 1e30, math.MaxFloat32 / 4} {
			s := small(m, 4)
			for i := range 200 {
				s.Put(Vector{ID: fmt.Sprintf("%03d", i), Values: []float32{scale, scale * float32(i%4), 0, -scale}})
			}
			s.Refresh()
			got := s.Search(Query{Vector: []float32{scale, scale, 0, -scale}, K: 3, Metric: m})
			want := s.Search(Query{Vector: []float32{scale, scale, 0, -scale}, K: 3, Metric: m, Exact: true})
			if !equalHits(got.Hits, want.Hits) || len(got.Hits) != 3 {
				t.Errorf("%v × %g: %v, want %v", m, scale, short(got.Hits), short(want.Hits))
			}
		}
		s := small(m, 4)
		for i := range 200 {
			s.Put(Vector{ID: fmt.Sprintf("%03d", 199-i), Values: []float32{1, 2, 3, 4}})
		}
		s.Refresh()
		got := s.Search(Query{Vector: []float32{1, 2, 3, 5}, K: 3, Metric: m})
		if ids := short(got.Hits); len(ids) != 3 || got.Hits[0].ID != "000" || got.Hits[2].ID != "002" {
			t.Errorf("%v: of equal vectors %v, want the first ids", m, ids)
		}
	}
}

// TestRotation: it keeps inner products, up to the width, and mixes.
func TestRotation(t *testing.T) {
	for _, dimension := range []int{1, 3, 256, 257, 384, 4096} {
		rot := newRotation(dimension)
		r := rand.New(rand.NewPCG(9, uint64(dimension)))
		x := make([]int64, dimension)
		var want int64
		for i := range x {
			x[i] = r.Int64N(2001) - 1000
			want += x[i] * x[i]
		}
		out := make([]int64, rot.width)
		rotate(rot, out, x)
		var got int64
		for _, v := range out {
			got += v * v
		}
		if got != want*int64(rot.width) {
			t.Errorf("%d dimensions: the square is %d, want %d times %d", dimension, got, want, rot.width)
		}
	}
}

// TestSelectNth against sorting.
func TestSelectNth(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 500 {
		values := make([]float64, 1+r.IntN(60))
		for i := range values {
			values[i] = float64(r.IntN(20))
		}
		n := r.IntN(len(values))
		sorted := slices.Sorted(slices.Values(values))
		if got := selectNth(slices.Clone(values), n); got != sorted[n] {
			t.Fatalf("number %d of %v is %v", n, sorted, got)
		}
	}
}

// common is how many of one result's vectors another has.
func common(a, b Result) int {
	n := 0
	for _, h := range a.Hits {
		if slices.ContainsFunc(b.Hits, func(o Hit) bool { return o.ID == h.ID }) {
			n++
		}
	}
	return n
}
