package wal

// finish makes the log what read has found it to be.
func (r *recovery) finish() (*Log, error) {
	l := newLog(r.o)
	l.number = r.files.highest + 1
	r.sweep(l, append(r.files.rest, r.files.spares...)) // first, for the space
	start := r.renew
	if r.resumes() {
		start = r.resume
	}
	if err := start(l); err != nil {
		return nil, err
	}
	r.sweep(l, r.unused(l.view.Load()))
	return l, nil
}

// synced is the last LSN that is proven to be durable. All segments but the
// last are: nothing is written to one before those before it are synced.
func (r *recovery) synced() uint64 {
	s := r.chain[r.tail].scanned
	if r.found.found {
		return max(s.synced, r.found.synced)
	}
	return s.synced
}

// resumes reports whether the last segment can be written on: all of it is
// proven to be durable, and nothing lies behind its end that could come to
// life when the frames before it are written.
func (r *recovery) resumes() bool {
	s := r.chain[r.tail].scanned
	return !r.found.found && (s.clean || s.frame == 0) && s.synced == s.next-1
}

func (r *recovery) resume(l *Log) error {
	c := r.chain[r.tail]
	w, err := r.o.FS.Open(c.path)
	if err != nil {
		return err
	}
	closed := r.extents(r.tail)
	x := extent{seg: r.segment(c), first: c.starts, last: c.scanned.next - 1, end: c.scanned.end}
	if x.firstTime, x.lastTime = c.time, c.scanned.lastTime; x.empty() && len(closed) > 0 {
		x.firstTime = closed[len(closed)-1].lastTime
		x.lastTime = x.firstTime
	}
	l.marked = c.scanned.clean
	l.start(w, &view{closed: closed, active: x, frame: c.scanned.frame}, x.last)
	return nil
}

// renew goes on in a new segment, and copies there what isn't proven to be
// durable: if a sync failed before, what is read now may be in the page cache
// only. The new segment counts when all of it is durable.
func (r *recovery) renew(l *Log) error {
	c := r.chain[r.tail]
	t, err := newTailCopy(c, r.synced())
	if err != nil {
		return err
	}
	closed := r.extents(r.tail)
	if c.starts < t.first {
		closed = append(closed, extent{
			seg: r.segment(c), first: c.starts, last: t.first - 1,
			firstTime: c.time, lastTime: c.scanned.lastTime, end: t.from,
		})
	}
	prev := uint64(0)
	if len(closed) > 0 {
		prev = closed[len(closed)-1].seg.number
	}
	spec := l.spec(max(r.o.minSegmentSize(), alignBlock(t.room())), prev, t.first)
	spec.fill = t.fill
	seg, w, err := l.build(spec)
	if err != nil {
		return err
	}
	for _, e := range t.notes {
		seg.idx.note(e)
	}
	r.o.Logger.Info("log recovered into a new segment", "dir", r.o.Dir, "segment", seg.number,
		"first", t.first, "last", t.last, "torn_at", c.scanned.end)
	l.marked = true
	l.start(w, &view{closed: closed, frame: t.frame, active: extent{
		seg: seg, first: t.first, last: t.last, firstTime: t.firstTime, lastTime: c.scanned.lastTime, end: t.end,
	}}, t.last)
	return nil
}

// segment makes what readers use of a candidate, with what the scan has seen.
func (r *recovery) segment(c *candidate) *segment {
	seg := newSegment(r.o, c.segHeader)
	if c.scanned != nil {
		for _, e := range c.scanned.notes {
			seg.idx.note(e)
		}
	}
	return seg
}

// extents are the first n segments of the chain, all followed by another.
func (r *recovery) extents(n int) []extent {
	var all []extent
	for i, c := range r.chain[:n] {
		next := r.chain[i+1]
		x := extent{seg: r.segment(c), first: c.starts, last: next.starts - 1, firstTime: c.time, lastTime: next.time}
		if c.scanned != nil {
			x.lastTime, x.end = c.scanned.lastTime, c.scanned.end
		}
		all = append(all, x)
	}
	return all
}

// unused lists the segments that are no part of the log.
func (r *recovery) unused(v *view) (paths []string) {
	used := map[uint64]bool{}
	for _, x := range v.extents() {
		used[x.seg.number] = true
	}
	for _, n := range r.files.segments {
		if !used[n] {
			paths = append(paths, fileName(r.o.Dir, segmentPrefix, n))
		}
	}
	return paths
}

// sweep takes away what is no part of the log. That may fail: such files are
// ignored as long as they exist.
func (r *recovery) sweep(l *Log, paths []string) {
	l.garbage = append(l.garbage, paths...)
	if err := l.collect(); err != nil {
		r.o.Logger.Warn("cannot remove files that are no part of the log", "dir", r.o.Dir, "error", err)
	}
}
