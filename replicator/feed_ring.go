package replicator

const (
	// feedBytes bounds the batches that a feed keeps for those who are a little
	// behind. Who falls out reads the log itself.
	feedBytes = 4 << 20
	// smallBatch is the mean length below which batches are joined before they are sent. Each
	// that is sent costs its follower as much as decompressing 2 KiB.
	smallBatch = 4 << 10
	// keptJoint is how many joint batches are kept for those who need the same next.
	keptJoint = 4
)

// ring is the newest batches of a feed, oldest first, without a gap. They are numbered from 0 on.
type ring struct {
	batches []*sharedBatch
	start   uint64         // number of the first one in it
	bytes   int            // of records
	next    uint64         // LSN behind what has been encoded
	joint   []*sharedBatch // the newest of those that were made of several
}

// place is how far a follower has come in a ring.
type place struct {
	batch uint64 // number of the next batch
	next  uint64 // LSN that comes next
}

// end is the number that the next batch will have.
func (r *ring) end() uint64 { return r.start + uint64(len(r.batches)) }

// add appends a batch and drops what is too much.
func (r *ring) add(b *sharedBatch) {
	r.batches = append(r.batches, b)
	r.bytes += b.size
	r.next = b.ends().next
	for r.bytes > feedBytes && len(r.batches) > 1 {
		r.drop()
	}
}

func (r *ring) drop() {
	oldest := r.batches[0]
	r.batches[0] = nil
	r.batches = r.batches[1:]
	r.start++
	r.bytes -= oldest.size
	oldest.free()
}

// forget drops the batches before a number, and those that were made of several.
func (r *ring) forget(before uint64) {
	for r.start < before && len(r.batches) > 0 {
		r.drop()
	}
	if len(r.batches) == 0 {
		r.batches = nil
	}
	for _, b := range r.joint {
		b.free()
	}
	r.joint = nil
}

// find places who needs the record next; false where the ring doesn't reach back to it. Who is
// ahead of the ring is placed at its end.
func (r *ring) find(next uint64) (place, bool) {
	p := place{batch: r.end(), next: next}
	if next >= r.next {
		return p, true
	}
	for i, b := range r.batches {
		if b.last >= next {
			p.batch = r.start + uint64(i)
			return p, b.reachesBack(next)
		}
	}
	return p, false
}

// take returns references to what comes at a place, of about most bytes together but at
// least one batch, and the place behind it.
func (r *ring) take(p place, most int, enc *batchEncoder) ([]*sharedBatch, place) {
	var taken []*sharedBatch
	size, from := 0, p.next
	for ; p.batch < r.end(); p.batch++ {
		b := r.batches[p.batch-r.start]
		if b.last < p.next {
			continue // the follower had it before it joined
		}
		if size > 0 && size+b.size > most {
			break
		}
		taken = append(taken, b.ref())
		size += b.size
		p.next = b.ends().next
	}
	if joinable(taken, from, size) {
		taken = []*sharedBatch{r.join(taken, size, enc)}
	}
	return taken, p
}

// joinable reports whether batches are better sent as one, to who needs the record from next.
func joinable(batches []*sharedBatch, from uint64, size int) bool {
	if len(batches) < 2 || size > liveBatchBytes || size/len(batches) >= smallBatch || batches[0].first < from {
		return false
	}
	for _, b := range batches {
		if b.recordBytes > 0 {
			return false // a part of a record travels alone
		}
	}
	return true
}

// join makes one batch of several, once for all that are told in a row, and gives the references
// to those back. What queued up for a follower so is compressed together.
func (r *ring) join(batches []*sharedBatch, size int, enc *batchEncoder) *sharedBatch {
	first, last := batches[0].first, batches[len(batches)-1].last
	for _, b := range r.joint {
		if b.first == first && b.last == last {
			freeAll(batches)
			return b.ref()
		}
	}
	whole := batch{first: first, last: last, commit: batches[len(batches)-1].commit, size: size}
	for _, b := range batches {
		whole.pieces = append(whole.pieces, b.records())
	}
	made := newSharedBatch(whole, enc)
	freeAll(batches)
	if len(r.joint) == keptJoint {
		r.joint[0].free()
		r.joint = append(r.joint[:0], r.joint[1:]...)
	}
	r.joint = append(r.joint, made)
	return made.ref()
}

func freeAll(batches []*sharedBatch) {
	for _, b := range batches {
		b.free()
	}
}
