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
	live, scanned := lastCollection()
	debug.SetGCPercent(percent(floor, live, scanned))
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

// minHeap is what the runtime lets a heap grow to with a GOGC of 100, however little is live.
const minHeap = 4 << 20

// percent is the GOGC with which a heap grows to the floor. A heap may grow by that much of what a
// collection scans: what is live, and stacks and globals; and to minHeap times it in any case.
func percent(floor, live, scanned uint64) int {
	if floor < live+scanned {
		return defaultPercent
	}
	return int(max(defaultPercent, min((floor-live)*100/max(scanned, 1), floor*100/minHeap)))
}

// lastCollection is what the last collection has left, and what it has scanned, in bytes.
func lastCollection() (live, scanned uint64) {
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"}}
	metrics.Read(samples)
	live = samples[0].Value.Uint64()
	return live, live + samples[1].Value.Uint64() + samples[2].Value.Uint64()
}
