package main

import "maps"

// #region counter

// Counter is a grow-only counter: how far each writer has counted. A writer raises
// its own number and touches no other, so that two writers never write the same key.
type Counter map[string]uint64

// Merge takes of each writer the higher number.
func (c Counter) Merge(other Counter) Counter {
	merged := maps.Clone(c)
	if merged == nil {
		merged = Counter{}
	}
	for writer, n := range other {
		merged[writer] = max(merged[writer], n)
	}
	return merged
}

// Value is what all writers have counted together.
func (c Counter) Value() (sum uint64) {
	for _, n := range c {
		sum += n
	}
	return sum
}

// #endregion counter
