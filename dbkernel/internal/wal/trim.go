package wal

// TrimPolicy says which closed segments may go. The active one never does.
type TrimPolicy struct {
	Keep        uint64 // no record with this LSN or a higher one may go
	Before      int64  // segments whose last record is older than this time go, in nanoseconds since 1970
	MaxBytes    int64  // and the oldest while the log's files are larger; 0: no limit
	MinSegments int    // never the newest n, the active one included
	// Held is the first record that age doesn't take, as long as what there is
	// from its segment on is at most HeldBytes. 0 holds everything.
	Held      uint64
	HeldBytes int64
}

// Trim removes segments from the old end of the log and says how many. Each is
// gone for good before the next one is touched, so that a crash never leaves a
// gap.
func (l *Log) Trim(p TrimPolicy) (removed int, err error) {
	l.maint.Lock()
	defer l.maint.Unlock()
	if err := l.usable(); err != nil {
		return 0, err
	}
	if err := l.collect(); err != nil {
		return 0, err
	}
	for l.mayGo(l.view.Load(), p) {
		if err := l.removeOldest(); err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}

// mayGo reports whether the policy lets the oldest segment go.
func (l *Log) mayGo(v *view, p TrimPolicy) bool {
	if len(v.closed) == 0 || len(v.closed) < p.MinSegments {
		return false
	}
	oldest := v.closed[0]
	if oldest.last >= p.Keep || !l.anchored(v) {
		return false
	}
	held := oldest.last >= p.Held && v.bytes() <= p.HeldBytes
	return oldest.lastTime < p.Before && !held || (p.MaxBytes > 0 && v.bytes() > p.MaxBytes)
}

// anchored reports whether the log knows its first LSN after a crash even if
// the oldest segment is gone: the next one has it in its header or in a frame
// that is durable.
func (l *Log) anchored(v *view) bool {
	return len(v.closed) > 1 || v.active.seg.segHeader.first != 0 || l.SyncedLSN() >= v.active.first
}

func (v *view) bytes() int64 {
	n := v.active.seg.length
	for _, x := range v.closed {
		n += x.seg.length
	}
	return n
}

func (l *Log) removeOldest() error {
	oldest := l.view.Load().closed[0].seg
	l.publish(func(v view) *view {
		v.closed = v.closed[1:]
		return &v
	})
	return l.discard(oldest.path, oldest.length, oldest.number, oldest.retire())
}
