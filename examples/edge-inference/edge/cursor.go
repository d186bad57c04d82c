package main

import "example.com/edge-inference/release"

// #region cursor

// cursor knows what was heard last, and from that when the relayer has to be asked. Notifications
// are fire and forget: what counts is what the relayer has, and they only say when to look.
type cursor struct {
	run  string // of the notifier; it counts anew in each
	next uint64 // topic_seq of the message that is to come
}

// take says why a message is a reason to ask; empty: it is none.
func (c *cursor) take(m message) (why string) {
	switch {
	case m.Operation == "reset":
		why = "the history was cut"
	case m.Run != c.run: // the first one that is heard, too: what came before it is unknown
		why = "a run of the notifier is new"
	case m.TopicSeq != c.next:
		why = "notifications were lost"
	case m.Key == release.ManifestKey:
		why = "it was notified"
	}
	c.run, c.next = m.Run, m.TopicSeq+1
	return why
}

// #endregion cursor
