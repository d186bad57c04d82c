package vfs

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// promptSlice is the least that Linux takes for a slice.
const promptSlice = 100 * time.Microsecond

// noSlices: this system knows none, or doesn't let them be set.
var noSlices atomic.Bool

// promptly makes a system call that waits for the disk one that is back from it soon, where all processors are
// busy. What waits is the end of a commit; it comes back several times in one fdatasync, and is a few
// microseconds of work each time. Linux lets a thread that wakes up in at once if it has asked for a shorter slice
// than whoever runs (sched_setattr, EEVDF, 6.12), and else when that has had its own, which is milliseconds. The
// thread asks for no more of the processor by that, and needs no privilege for it. Behind the call its slice is what it was.
func promptly(call func(fd int) error) func(fd int) error {
	return func(fd int) error {
		if noSlices.Load() {
			return call(fd)
		}
		// The goroutine isn't bound to the thread: to be handed back to it would take as long as what is to be
		// saved. If it is moved in between, this thread has a short slice for a while, and the other one none.
		thread := unix.Gettid()
		if before := setSlice(thread, promptSlice); before > 0 {
			defer setSlice(thread, before)
		}
		return call(fd)
	}
}

// setSlice changes a thread's slice, and says what it was; 0: it has none.
func setSlice(thread int, d time.Duration) (before time.Duration) {
	a, err := unix.SchedGetAttr(thread, 0)
	if err != nil {
		noSlices.Store(true)
		return 0
	}
	if a.Policy != unix.SCHED_NORMAL { // somebody has chosen another one for this thread
		return 0
	}
	before, a.Runtime = time.Duration(a.Runtime), uint64(d)
	if before == 0 || unix.SchedSetAttr(thread, a, 0) != nil {
		noSlices.Store(true)
		return 0
	}
	return before
}
