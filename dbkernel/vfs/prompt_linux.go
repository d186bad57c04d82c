package vfs

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// promptSlice is the least that Linux takes for a slice.
const promptSlice = 100 * time.Microsecond

// ownSlice is the slice of this process's threads, read before any of them asks for another; 0: the system knows none.
var ownSlice = sync.OnceValue(func() time.Duration {
	a, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		return 0
	}
	return time.Duration(a.Runtime)
})

// slicesRefused: this process may not set them.
var slicesRefused atomic.Bool

// promptly makes a system call that waits for the disk one that is back from it soon, where all processors are
// busy. What waits is the end of a commit; it comes back several times in one fdatasync, and is a few
// microseconds of work each time. Linux lets a thread that wakes up in at once if it has asked for a shorter slice
// than whoever runs (sched_setattr, EEVDF, 6.12), and else when that has had its own, which is milliseconds. The
// thread asks for no more of the processor by that, and needs no privilege for it. Behind the call it has the
// process's slice again.
func promptly(call func(fd int) error) func(fd int) error {
	return func(fd int) error {
		own := ownSlice()
		if own == 0 || slicesRefused.Load() {
			return call(fd)
		}
		// The goroutine isn't bound to the thread: to be handed back to it would take as long as what is to be
		// saved. If it is moved in between, this thread has a short slice for a while, and the other one none; and the
		// thread may be in the next one's call by the time that this one sets it back.
		thread := unix.Gettid()
		if setSlice(thread, promptSlice) {
			defer setSlice(thread, own)
		}
		return call(fd)
	}
}

// setSlice changes a thread's slice; false: it is as before, since somebody has chosen another policy for this
// thread, it has ended, or slices may not be set.
func setSlice(thread int, d time.Duration) bool {
	a, err := unix.SchedGetAttr(thread, 0)
	if err == nil && a.Policy != unix.SCHED_NORMAL {
		return false
	}
	if err == nil {
		a.Runtime = uint64(d)
		err = unix.SchedSetAttr(thread, a, 0)
	}
	if err != nil && !errors.Is(err, unix.ESRCH) {
		slicesRefused.Store(true)
	}
	return err == nil
}
