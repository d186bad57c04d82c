// Package heap keeps the garbage collector from running often over a small heap. Next to
// its memtables a node holds little, so that Go's default, a collection each time the heap has
// doubled, is one every few seconds on a busy hub; and each takes a good part of two cores for
// tens of milliseconds, which is what the slowest hundredth of the writes then wait for.
package heap

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

// MaxFloor is as much of a floor as pays, in bytes.
const MaxFloor = 64 << 20

// defaultPercent is GOGC where nobody has set it.
const defaultPercent = 100

var (
	mu    sync.Mutex
	floor uint64 // bytes; 0: none
	armed sync.Once
)

// SetFloor lets the process's heap grow to so many bytes, at least, before it is collected;
// 0 ends that. A heap that is larger doubles, as ever. It does nothing where the user has set GOGC.
func SetFloor(bytes uint64) {
	if os.Getenv("GOGC") != "" {
		return
	}
	mu.Lock()
	floor = bytes
	mu.Unlock()
	adjust()
	armed.Do(rearm)
}

// adjust sets GOGC by what is live.
func adjust() {
	mu.Lock()
	defer mu.Unlock()
	debug.SetGCPercent(percent(floor, live()))
}

// rearm has it adjusted after each collection, which is when a sentinel is found to be garbage.
func rearm() {
	runtime.AddCleanup(new(sentinel), func(struct{}) {
		adjust()
		rearm()
	}, struct{}{})
}

// sentinel isn't empty, since all empty values may be one.
type sentinel struct{ _ [16]byte }

// percent is the GOGC with which a heap grows to the floor.
func percent(floor, live uint64) int {
	if live == 0 || floor <= 2*live {
		return defaultPercent
	}
	return int((floor - live) * 100 / live)
}

// live is what the last collection has left, in bytes.
func live() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return max(sample[0].Value.Uint64(), 1<<20)
}
