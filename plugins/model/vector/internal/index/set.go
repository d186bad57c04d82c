// Package index keeps a set of vectors in memory and finds those nearest to
// another: by sketches of a few bits for each coordinate, then exactly among the
// candidates. What it answers is a function of the vectors that it holds,
// whatever the order in which they came and others went. See DESIGN.md of the program.
package index

import (
	"runtime"
	"slices"
	"sync"
)

const (
	// exactFloats is how many numbers a set holds at most to be searched without
	// sketches: reading them all takes a few milliseconds.
	exactFloats = 1 << 21
	// leastCandidates is how many rows are scored exactly, whatever the set's size.
	leastCandidates = 2000
	// slabRows is how many vectors are stored together.
	slabRows = 1024
)

// Set is an index of vectors of one dimension. Searches may run concurrently;
// anything else needs it alone. After changes Refresh comes before a search.
type Set struct {
	metric    Metric
	dimension int
	// The constants of the same names, but for tests: answers depend on them.
	exactFloats, leastCandidates int

	rows  map[string]int32 // by id
	slabs []*slab          // all full, but for the last
	extra int64            // bytes of ids, metadata and attributes

	// Sketches are kept of sets that are large enough; else all of these are nil.
	rotation *rotation
	sums     sums
	center   []float64
	pending  bool // some rows have no sketch
	fixed    []int64
}

// Vector is a member of a set.
type Vector struct {
	ID       string
	Values   []float32
	Metadata []byte // what answers carry
	// Attributes is what a search's Match gets.
	Attributes []byte
}

// slab holds consecutive rows, column by column.
type slab struct {
	ids        []string
	values     []float32
	lengths    []float64
	metadata   [][]byte
	attributes [][]byte

	codes    []uint64
	gains    []float64
	squares  []float64
	sketched []bool
}

// NewSet makes an empty set.
func NewSet(m Metric, dimension int) *Set {
	return &Set{
		metric: m, dimension: dimension, rows: map[string]int32{},
		exactFloats: exactFloats, leastCandidates: leastCandidates,
	}
}

// Metric is the set's.
func (s *Set) Metric() Metric { return s.metric }

// Dimension is the number of values that each vector has.
func (s *Set) Dimension() int { return s.dimension }

// Len is the number of vectors.
func (s *Set) Len() int { return len(s.rows) }

// rowBytes is about what a row takes besides its values, id and metadata.
const rowBytes = 16 + 8 + 2*24 + 48 // headers, length, the map's entry

// Memory is about how many bytes the set takes.
func (s *Set) Memory() int64 {
	var n int64
	for _, b := range s.slabs {
		n += int64(cap(b.values))*4 + int64(cap(b.codes))*8 + int64(cap(b.gains))*17
	}
	return n + int64(len(s.rows))*rowBytes + s.extra
}

// Put adds a vector or replaces the one of the same id. The values, of the set's
// dimension and finite, are copied; the rest is kept.
func (s *Set) Put(v Vector) {
	if row, ok := s.rows[v.ID]; ok {
		b, i := s.at(int(row))
		s.count(b, i, -1)
		s.extra += extraOf(v) - extraOf(b.vector(i, s.dimension))
		s.set(b, i, v)
		return
	}
	row := len(s.rows)
	if row%slabRows == 0 {
		s.slabs = append(s.slabs, &slab{})
	}
	b, i := s.at(row)
	b.grow(s, i+1)
	s.rows[v.ID] = int32(row)
	s.extra += extraOf(v)
	b.ids[i] = v.ID
	s.set(b, i, v)
}

// set writes a row and counts it.
func (s *Set) set(b *slab, i int, v Vector) {
	copy(b.values[i*s.dimension:], v.Values)
	b.lengths[i] = norm(v.Values)
	b.metadata[i], b.attributes[i] = v.Metadata, v.Attributes
	if s.rotation != nil {
		b.sketched[i] = false
		s.pending = true
	}
	s.count(b, i, 1)
}

// Delete removes a vector, if it is there.
func (s *Set) Delete(id string) {
	row, ok := s.rows[id]
	if !ok {
		return
	}
	b, i := s.at(int(row))
	s.count(b, i, -1)
	s.extra -= extraOf(b.vector(i, s.dimension))
	delete(s.rows, id)
	last := len(s.rows)
	from, j := s.at(last)
	if last != int(row) {
		b.move(i, from, j, s)
		s.rows[b.ids[i]] = row
	}
	if from.grow(s, j); j == 0 {
		s.slabs[len(s.slabs)-1] = nil
		s.slabs = s.slabs[:len(s.slabs)-1]
	}
}

// Get is a vector by its id. It shares memory with the set.
func (s *Set) Get(id string) (Vector, bool) {
	row, ok := s.rows[id]
	if !ok {
		return Vector{}, false
	}
	b, i := s.at(int(row))
	return b.vector(i, s.dimension), true
}

func (s *Set) at(row int) (*slab, int) { return s.slabs[row/slabRows], row % slabRows }

func extraOf(v Vector) int64 { return int64(len(v.ID) + len(v.Metadata) + len(v.Attributes)) }

// vector is a row as the caller gave it.
func (b *slab) vector(i, dimension int) Vector {
	return Vector{
		ID: b.ids[i], Values: b.values[i*dimension : (i+1)*dimension : (i+1)*dimension],
		Metadata: b.metadata[i], Attributes: b.attributes[i],
	}
}

// move copies a row from another place and empties that.
func (b *slab) move(i int, from *slab, j int, s *Set) {
	d := s.dimension
	b.ids[i], b.lengths[i] = from.ids[j], from.lengths[j]
	b.metadata[i], b.attributes[i] = from.metadata[j], from.attributes[j]
	copy(b.values[i*d:(i+1)*d], from.values[j*d:])
	if s.rotation != nil {
		w := s.rotation.width / 64
		copy(b.codes[i*w:(i+1)*w], from.codes[j*w:])
		b.gains[i], b.squares[i], b.sketched[i] = from.gains[j], from.squares[j], from.sketched[j]
	}
}

// grow sets the number of rows.
func (b *slab) grow(s *Set, rows int) {
	b.ids = resize(b.ids, rows, 1)
	b.lengths = resize(b.lengths, rows, 1)
	b.metadata = resize(b.metadata, rows, 1)
	b.attributes = resize(b.attributes, rows, 1)
	b.values = resize(b.values, rows, s.dimension)
	if s.rotation != nil {
		b.codes = resize(b.codes, rows, s.rotation.width/64)
		b.gains = resize(b.gains, rows, 1)
		b.squares = resize(b.squares, rows, 1)
		b.sketched = resize(b.sketched, rows, 1)
	}
}

// resize sets the number of rows of a column of so many entries each. It grows by
// doubling, up to a whole slab and not beyond, and lets go of what is cut off.
func resize[T any](column []T, rows, each int) []T {
	if rows*each <= len(column) {
		clear(column[rows*each:])
		return column[:rows*each]
	}
	if rows*each > cap(column) {
		grown := make([]T, len(column), each*min(slabRows, max(rows, 8, 2*cap(column)/each)))
		copy(grown, column)
		column = grown
	}
	return column[:rows*each]
}

// count takes a row into the sums, or out of them.
func (s *Set) count(b *slab, i int, sign int64) {
	if s.rotation == nil {
		return
	}
	x := b.values[i*s.dimension : (i+1)*s.dimension]
	s.sums.add(quantize(s.metric, s.fixed, x, b.lengths[i]), s.fixed, sign)
}

// Refresh makes the sketches fit the vectors. It uses all processors.
func (s *Set) Refresh() {
	if len(s.rows)*s.dimension <= s.exactFloats {
		s.dropSketches()
		return
	}
	if s.rotation == nil {
		s.beginSketches()
	}
	if c := s.sums.center(s.rotation); !slices.Equal(c, s.center) {
		s.recenter(c)
	}
	if s.pending {
		s.sketchPending()
		s.pending = false
	}
}

func (s *Set) dropSketches() {
	if s.rotation == nil {
		return
	}
	s.rotation, s.sums, s.center, s.fixed, s.pending = nil, nil, nil, nil, false
	for _, b := range s.slabs {
		b.codes, b.gains, b.squares, b.sketched = nil, nil, nil, nil
	}
}

// beginSketches makes room for sketches and sums up all rows.
func (s *Set) beginSketches() {
	s.rotation = newRotation(s.dimension)
	s.fixed = make([]int64, s.dimension)
	s.sums = sums{}
	s.pending = true
	var mu sync.Mutex
	s.parallel(func(_ int, slabs []*slab) {
		local, fixed := sums{}, make([]int64, s.dimension)
		for _, b := range slabs {
			b.grow(s, len(b.ids))
			for i := range b.ids {
				x := b.values[i*s.dimension : (i+1)*s.dimension]
				local.add(quantize(s.metric, fixed, x, b.lengths[i]), fixed, 1)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		s.sums.merge(local)
	})
}

// recenter makes all sketches void.
func (s *Set) recenter(center []float64) {
	s.center, s.pending = center, true
	for _, b := range s.slabs {
		clear(b.sketched)
	}
}

func (s *Set) sketchPending() {
	w, d := s.rotation.width/64, s.dimension
	s.parallel(func(_ int, slabs []*slab) {
		k := newSketcher(s.metric, s.rotation, s.center)
		for _, b := range slabs {
			for i, done := range b.sketched {
				if !done {
					b.gains[i], b.squares[i] = k.sketch(b.codes[i*w:(i+1)*w], b.values[i*d:(i+1)*d], b.lengths[i])
					b.sketched[i] = true
				}
			}
		}
	})
}

// leastSlabs is how many slabs are worth a goroutine.
const leastSlabs = 8

// parallel splits the slabs among the processors and waits for all; first is the
// first row of a part.
func (s *Set) parallel(work func(first int, part []*slab)) {
	processors := runtime.GOMAXPROCS(0)
	share := max(leastSlabs, (len(s.slabs)+processors-1)/processors)
	if len(s.slabs) <= share {
		work(0, s.slabs)
		return
	}
	var done sync.WaitGroup
	for i := 0; i < len(s.slabs); i += share {
		done.Go(func() { work(i*slabRows, s.slabs[i:min(i+share, len(s.slabs))]) })
	}
	done.Wait()
}
