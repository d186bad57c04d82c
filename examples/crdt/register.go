package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// #region register

// Register is a last-writer-wins register: the last entry of each writer. All are kept, so
// that a value that lost can be seen.
type Register map[string]Entry

// Entry is a value with its stamp. No clock is asked: "last" means the higher counter, and
// a writer's counter is higher than all that it has seen.
type Entry struct {
	Value   string `json:"value"`
	Counter uint64 `json:"counter"` // a Lamport clock
	Writer  string `json:"writer"`  // decides between equal counters
	// Saw is the counter of each writer's entry that the writer of this one knew. What it
	// didn't know was written concurrently.
	Saw map[string]uint64 `json:"saw"`
}

// Merge takes of each writer the later entry.
func (r Register) Merge(other Register) Register {
	merged := maps.Clone(r)
	if merged == nil {
		merged = Register{}
	}
	for writer, e := range other {
		if mine, ok := merged[writer]; !ok || e.compare(mine) > 0 {
			merged[writer] = e
		}
	}
	return merged
}

// Set is the entry with which a writer that knows r changes the value.
func (r Register) Set(writer, value string) Entry {
	e := Entry{Value: value, Writer: writer, Saw: map[string]uint64{}}
	for _, known := range r {
		e.Counter = max(e.Counter, known.Counter)
		e.Saw[known.Writer] = known.Counter
	}
	e.Counter++
	return e
}

// Winner is the entry with the highest stamp; false where there is none.
func (r Register) Winner() (winner Entry, ok bool) {
	for _, e := range r {
		if !ok || e.compare(winner) > 0 {
			winner, ok = e, true
		}
	}
	return winner, ok
}

// Lost are entries that the winner's writer didn't know: written concurrently,
// and put aside only because of their stamp.
func (r Register) Lost() (lost []Entry) {
	winner, _ := r.Winner()
	for _, e := range r {
		if e.Writer != winner.Writer && winner.Saw[e.Writer] < e.Counter {
			lost = append(lost, e)
		}
	}
	slices.SortFunc(lost, Entry.compare)
	return lost
}

// #endregion register

// compare orders entries by stamp: counter, then writer. A writer gives each of its
// entries another counter. One that was set back (its namespace was restored from a
// backup, say) may not: then the content decides, so that all replicas still agree.
func (e Entry) compare(other Entry) int {
	return cmp.Or(
		cmp.Compare(e.Counter, other.Counter),
		strings.Compare(e.Writer, other.Writer),
		strings.Compare(e.Value, other.Value),
		strings.Compare(fmt.Sprint(e.Saw), fmt.Sprint(other.Saw)), // in the order of the keys
	)
}
