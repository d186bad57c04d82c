package main

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// marker begins every value, so that a follower finds the moment of the put in
// the bytes of a record.
var marker = []byte("fan-out\x00")

// stamped makes a value: the marker, the moment, and words that compress as
// text does.
func stamped(r *rand.Rand, at time.Time) []byte {
	v := make([]byte, 0, valueBytes+16)
	v = binary.LittleEndian.AppendUint64(append(v, marker...), uint64(at.UnixNano()))
	for len(v) < valueBytes {
		v = binary.AppendUvarint(v, uint64(r.IntN(1<<20)))
		v = append(v, `,"sensor":`...)
	}
	return v[:valueBytes]
}

// markerHint is where the last marker was found: records of one kind have it in the same place.
type markerHint struct{ at atomic.Int64 }

// moment finds the moment of the put that a record carries.
func (h *markerHint) moment(record []byte) (time.Time, bool) {
	at := int(h.at.Load())
	if len(record) < at+len(marker) || !bytes.Equal(record[at:at+len(marker)], marker) {
		if at = bytes.Index(record, marker); at < 0 {
			return time.Time{}, false
		}
		h.at.Store(int64(at))
	}
	b := record[at+len(marker):]
	if len(b) < 8 {
		return time.Time{}, false
	}
	return time.Unix(0, int64(binary.LittleEndian.Uint64(b))), true
}

// histogram counts durations in steps of a few percent. Safe for concurrent use.
type histogram struct{ counts [histogramSteps]atomic.Uint64 }

// Steps are microseconds up to 32, then 32 to each doubling.
const (
	histogramFine  = 32
	histogramSteps = histogramFine * 32
)

func step(d time.Duration) int {
	us := uint64(max(d.Microseconds(), 0))
	shift := 0
	for us >= 2*histogramFine {
		us >>= 1
		shift++
	}
	return min(int(us)+shift*histogramFine, histogramSteps-1)
}

// upTo is the reverse of step: the upper end.
func upTo(i int) time.Duration {
	shift := max(0, i/histogramFine-1)
	return time.Duration((i-shift*histogramFine)+1) << shift * time.Microsecond
}

func (h *histogram) add(d time.Duration) { h.counts[step(d)].Add(1) }

// take returns what was counted, and begins anew.
func (h *histogram) take() samples {
	s := make(samples, len(h.counts))
	for i := range h.counts {
		s[i] = h.counts[i].Swap(0)
	}
	return s
}

// samples are what a histogram came to: how many there are in each step.
type samples []uint64

// add adds those of another time.
func (s *samples) add(more samples) {
	if *s == nil {
		*s = make(samples, len(more))
	}
	for i, n := range more {
		(*s)[i] += n
	}
}

func (s samples) count() (n uint64) {
	for _, c := range s {
		n += c
	}
	return n
}

// quantile is the upper end of the step that a share of the samples doesn't exceed.
func (s samples) quantile(q float64) time.Duration {
	left := uint64(q * float64(s.count()))
	for i, n := range s {
		if n > left {
			return upTo(i)
		}
		left -= n
	}
	return 0
}
