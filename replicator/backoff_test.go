package replicator

import (
	"testing"
	"time"
)

func TestBackoff(t *testing.T) {
	b := backoff{n: 2, rand: func() float64 { return 0.999999 }}
	var addresses []int
	var waits []time.Duration
	for range 18 {
		addresses = append(addresses, b.address)
		waits = append(waits, b.next(false, true).Round(time.Millisecond))
	}
	for i, a := range addresses {
		if a != i%2 {
			t.Fatalf("addresses are tried in the order %v", addresses)
		}
	}
	for i, w := range waits {
		want := failoverPause
		if i%2 == 1 {
			want = min(backoffFirst<<(i/2), backoffMax)
		}
		if w != want {
			t.Errorf("wait %d is %v, want %v", i, w, want)
		}
	}
	if w := b.next(true, true); w > failoverPause {
		t.Errorf("%v after a stream that was worth something", w)
	}
}

func TestBackoffJitter(t *testing.T) {
	b := backoff{n: 1, rand: func() float64 { return 0 }}
	if w := b.next(false, true); w != backoffFirst/2 {
		t.Errorf("the shortest wait is %v", w)
	}
	b = backoff{n: 1, rand: func() float64 { return 0.999999 }}
	for range 3 {
		if w := b.next(true, true); w < backoffFirst/2 || w > backoffFirst {
			t.Errorf("%v after progress", w)
		}
	}
}

func TestBackoffHelpless(t *testing.T) {
	b := backoff{n: 2, rand: func() float64 { return 0 }}
	b.next(false, false)
	if w := b.next(false, false); w != backoffHelpless/2 {
		t.Errorf("%v after all addresses refused for good", w)
	}
	b.next(false, false)
	if w := b.next(false, true); w > backoffMax {
		t.Errorf("%v after one address may recover", w)
	}
}
