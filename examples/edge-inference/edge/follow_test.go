package main

import (
	"context"
	"testing"
	"time"

	"example.com/edge-inference/release"
	"example.com/edge-inference/release/releasetest"
)

// patience is a backstop: no test is meant to wait that long.
const patience = 2 * time.Minute

// waitFor waits until a release is in force.
func waitFor(t *testing.T, h *holder, number int) *inForce {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		if now := h.Load(); now != nil && now.release.Number() == number {
			return now
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("release %d never came into force", number)
		}
	}
}

// begin has a follower follow a node until the test ends.
func begin(t *testing.T, node *releasetest.Node, check time.Duration) (*holder, chan<- message) {
	t.Helper()
	var current holder
	f := follower{node: node.Client(t), current: &current, check: check}
	heard, ended := make(chan message), make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(ended)
		f.follow(ctx, heard)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return &current, heard
}

// TestFollowNotifications: with what is notified, lost or cut the follower reads again, and not
// with anything else.
func TestFollowNotifications(t *testing.T) {
	node := releasetest.New(t)
	c := node.Client(t)
	releasetest.Publish(t, c, releasetest.Draft(1))
	current, heard := begin(t, node, patience)
	waitFor(t, current, 1)
	heard <- message{Run: "a", TopicSeq: 1}
	for i, m := range []message{
		{Run: "a", TopicSeq: 2, Key: release.ManifestKey, Timestamp: time.Now()},
		{Run: "a", TopicSeq: 5},
		{Run: "b", TopicSeq: 1},
		{Run: "b", TopicSeq: 2, Operation: "reset"},
	} {
		releasetest.Publish(t, c, releasetest.Draft(i+2))
		heard <- m
		now := waitFor(t, current, i+2)
		if (now.arrival.After != "") != !m.Timestamp.IsZero() {
			t.Errorf("%+v: arrival %+v", m, now.arrival)
		}
	}
}

// TestFollowWithoutNotifications: what isn't notified is found all the same.
func TestFollowWithoutNotifications(t *testing.T) {
	node := releasetest.New(t)
	c := node.Client(t)
	current, _ := begin(t, node, time.Millisecond)
	for i := range 3 {
		releasetest.Publish(t, c, releasetest.Draft(i+1))
		waitFor(t, current, i+1)
	}
}

// TestADamagedReleaseIsNotTaken: what is in force stays, until there is a good one.
func TestADamagedReleaseIsNotTaken(t *testing.T) {
	node := releasetest.New(t)
	c := node.Client(t)
	releasetest.Publish(t, c, releasetest.Draft(1))
	current, heard := begin(t, node, patience)
	waitFor(t, current, 1)
	releasetest.Publish(t, c, releasetest.Draft(2))
	node.Set("lob/weights/2", []byte("damaged"))
	for i := range 3 { // when the second is taken, the first has been dealt with
		heard <- message{Run: "a", TopicSeq: uint64(i), Key: release.ManifestKey}
	}
	if now := current.Load(); now.release.Number() != 1 {
		t.Errorf("release %d is in force", now.release.Number())
	}
	releasetest.Publish(t, c, releasetest.Draft(3))
	heard <- message{Run: "a", TopicSeq: 3, Key: release.ManifestKey}
	waitFor(t, current, 3)
}
