package main

import (
	"fmt"
	"testing"
)

// BenchmarkNotify is how fast batches of a thousand changes reach a receiver on the
// same machine, which decodes them, over TLS and signed.
func BenchmarkNotify(b *testing.B) {
	for _, inFlight := range []int{1, 4} {
		b.Run(fmt.Sprintf("max_in_flight=%d", inFlight), func(b *testing.B) { benchmarkNotify(b, inFlight) })
	}
}

func benchmarkNotify(b *testing.B, inFlight int) {
	const perBatch = 1000
	r := newReceiver(b, nil)
	w := notifierOf(b, r, map[string]any{"max_in_flight": inFlight, "secret": "s"})
	keys := make([]string, perBatch)
	for i := range keys {
		keys[i] = fmt.Sprintf("order:%d", i%700)
	}
	batch := batchOf(keys...)
	for b.Loop() {
		if result, err := w.Notify(b.Context(), batch); err != nil || len(result.Rejected) > 0 {
			b.Fatal(result, err)
		}
		r.mu.Lock()
		r.calls, r.accepted = nil, nil
		r.mu.Unlock()
	}
	b.ReportMetric(perBatch*float64(b.N)/b.Elapsed().Seconds(), "changes/s")
}
