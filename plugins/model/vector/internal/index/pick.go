package index

import (
	"container/heap"
	"math"
	"slices"
)

// candidate is a row with the rank that its sketch gives it; less is nearer.
type candidate struct {
	rank float64
	row  int32
}

// picker keeps the candidates of the least ranks: as many as wanted, and all others
// whose rank equals the last one's. So what it keeps doesn't depend on the order.
type picker struct {
	want   int
	full   int     // trim at this many
	bound  float64 // what ranks above it isn't among the wanted; infinite: no more than wanted came
	picked []candidate
	ranks  []float64
}

func newPicker(want int) *picker {
	room := min(4*want, 1<<14) // for the usual case; more grows
	return &picker{
		want: want, full: 4 * want, bound: math.Inf(1),
		picked: make([]candidate, 0, room), ranks: make([]float64, 0, room),
	}
}

func (p *picker) add(c candidate) {
	if len(p.picked) >= p.full {
		p.trim()
		p.full = max(4*p.want, 2*len(p.picked))
	}
	p.picked = append(p.picked, c)
}

// merge takes in what another one kept.
func (p *picker) merge(other *picker) {
	p.picked = append(p.picked, other.picked...)
	p.bound = min(p.bound, other.bound)
}

// trim lets go of what isn't among the wanted.
func (p *picker) trim() {
	if len(p.picked) <= p.want {
		return
	}
	p.ranks = p.ranks[:0]
	for _, c := range p.picked {
		p.ranks = append(p.ranks, c.rank)
	}
	p.bound = selectNth(p.ranks, p.want-1)
	p.picked = slices.DeleteFunc(p.picked, func(c candidate) bool { return c.rank > p.bound })
}

// selectNth is the n-th smallest of the values, from 0; it reorders them.
func selectNth(values []float64, n int) float64 {
	low, high := 0, len(values)-1
	for low < high {
		middle := low + (high-low)/2
		pivot := max(min(values[low], values[middle]), min(max(values[low], values[middle]), values[high]))
		i, j := low, high
		for i <= j {
			for values[i] < pivot {
				i++
			}
			for values[j] > pivot {
				j--
			}
			if i <= j {
				values[i], values[j] = values[j], values[i]
				i++
				j--
			}
		}
		switch {
		case n <= j:
			high = j
		case n >= i:
			low = i
		default:
			return values[n]
		}
	}
	return values[n]
}

// ranked is a row with its exact score.
type ranked struct {
	score float64
	id    string
	row   int32
}

// nearest is a heap of the K nearest rows, the farthest at its root.
type nearest struct {
	k      int
	metric Metric
	heap   []ranked
}

func newNearest(q Query, s *Set) *nearest {
	return &nearest{k: q.K, metric: q.Metric, heap: make([]ranked, 0, min(q.K, len(s.rows))+1)}
}

// add scores a row and keeps it if it is among the nearest.
func (n *nearest) add(row int32, s *Set, scorer *scorer) {
	b, i := s.at(int(row))
	score := scorer.score(b.values[i*s.dimension:(i+1)*s.dimension], b.lengths[i])
	if len(n.heap) == n.k && n.metric.nearer(n.heap[0].score, score) {
		return
	}
	n.insert(ranked{score: score, id: b.ids[i], row: row})
}

func (n *nearest) insert(r ranked) {
	if len(n.heap) < n.k {
		heap.Push(n, r)
	} else if n.before(r, n.heap[0]) {
		n.heap[0] = r
		heap.Fix(n, 0)
	}
}

// merge takes in what another one kept.
func (n *nearest) merge(other *nearest) {
	for _, r := range other.heap {
		n.insert(r)
	}
}

// before says whether a row comes before another in an answer.
func (n *nearest) before(a, b ranked) bool {
	if a.score != b.score {
		return n.metric.nearer(a.score, b.score)
	}
	return a.id < b.id
}

// Len, Less, Swap, Push and Pop are container/heap's.
func (n *nearest) Len() int           { return len(n.heap) }
func (n *nearest) Less(i, j int) bool { return n.before(n.heap[j], n.heap[i]) }
func (n *nearest) Swap(i, j int)      { n.heap[i], n.heap[j] = n.heap[j], n.heap[i] }

// Push is container/heap's.
func (n *nearest) Push(x any) { n.heap = append(n.heap, x.(ranked)) } //nolint:errcheck // heap.Push gets nothing else

// Pop is container/heap's.
func (n *nearest) Pop() any {
	last := n.heap[len(n.heap)-1]
	n.heap = n.heap[:len(n.heap)-1]
	return last
}
