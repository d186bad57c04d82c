package feed

// #region gaps

// gaps finds out whether messages of a topic are missing. The zero value has
// seen nothing.
type gaps map[string]place

// place is where a topic is: a run of the notifier, and a number within it.
type place struct {
	run string
	seq uint64
}

// missed reports whether something may have happened on the topic, between the
// message before m and m itself, that the subscriber wasn't told of:
//
//   - m is the first message of the topic: what was before it isn't known;
//   - the run is another: the notifier was started anew, and what was published
//     in between isn't known;
//   - the number is higher by more than one: messages were lost;
//   - m is a reset: the history itself was cut.
func (g gaps) missed(topic string, m Message) bool {
	last, known := g[topic]
	g[topic] = place{m.Run, m.TopicSeq}
	return !known || m.Run != last.run || m.TopicSeq != last.seq+1 || m.Operation == "reset"
}

// #endregion gaps
