package replicator

// cursor is a live follower's place in a feed. All but wake is guarded by the feed's lock.
type cursor struct {
	feed *feed
	wake chan struct{} // holds a token once there is something new
	at   place
	had  beatsHad
}

// lacksLocked reports whether there are batches that the follower hasn't had.
func (c *cursor) lacksLocked() bool { return c.at.batch < c.feed.ring.end() }

// beatDueLocked reports whether the newest heartbeat is for the follower, who hasn't had it.
func (c *cursor) beatDueLocked() bool {
	return c.feed.beats.due(c.had, beatParts(len(c.feed.live)))
}

// catch is what a follower takes from a feed at a time. Its references are the follower's.
type catch struct {
	batches []*sharedBatch
	from    uint64 // LSN of the first record that the follower lacks, maybe inside the first batch
	beat    encoded
}

func (k *catch) empty() bool { return len(k.batches) == 0 && k.beat == nil }

// take gives a follower the batches that it hasn't got, of about most bytes together
// but at least one, and the newest heartbeat if it then has all batches. An empty
// catch: the cursor's wake will have a token when there is something.
// errFellBehind, or why the feed has ended.
func (c *cursor) take(most int) (k catch, err error) {
	f := c.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return k, f.err
	}
	if c.at.batch < f.ring.start {
		return k, errFellBehind
	}
	k.from = c.at.next
	k.batches, c.at = f.ring.take(c.at, most, &f.encoder)
	if c.at.batch == f.ring.end() && c.beatDueLocked() {
		k.beat, c.had.number, c.had.all = f.beats.newest, f.beats.number, f.beats.forAll
	}
	if k.empty() {
		f.parked = append(f.parked, c)
	}
	return k, nil
}

// message is the batches and the heartbeat as one message, which the caller frees.
func (k *catch) message(zstd bool) (encoded, error) {
	msg := make(encoded, 0, len(k.batches)+2)
	for i, b := range k.batches {
		if i == 0 && k.from > b.first {
			rest, err := b.behind(k.from)
			if err != nil {
				return nil, err
			}
			msg = append(msg, rest...)
			continue
		}
		buf := b.encoding(zstd)
		buf.Ref()
		msg = append(msg, buf)
	}
	return append(msg, k.beat...), nil
}

// ends is how far a stream comes with the batches.
func (k *catch) ends(was reach) reach {
	if n := len(k.batches); n > 0 {
		return k.batches[n-1].ends()
	}
	return was
}

func (k *catch) free() { freeAll(k.batches) }
