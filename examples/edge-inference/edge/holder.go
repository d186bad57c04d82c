package main

import (
	"sync/atomic"

	"example.com/edge-inference/release"
)

// #region holder

// holder has what is in force. A request loads it once and uses nothing else, so that no answer
// can come from two releases.
type holder struct{ atomic.Pointer[inForce] }

// inForce is a release and how it came. It is immutable.
type inForce struct {
	release *release.Release
	arrival arrival
}

// #endregion holder

// arrival says how a release came.
type arrival struct {
	Why string `json:"why"` // why the relayer was asked
	// After is how long it took from the making of the record that was notified, at the hub,
	// until the release was in force here, by the clocks of the two machines; empty where it
	// was no notification that gave the reason.
	After string `json:"after,omitempty"`
}
