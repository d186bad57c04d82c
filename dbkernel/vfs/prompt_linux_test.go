package vfs

import (
	"errors"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestPromptly: a thread has a short slice for the length of a call, and the process's afterwards, also where another
// goroutine hadn't set it back yet; nothing else of it is changed. One whose policy somebody has chosen is left alone.
func TestPromptly(t *testing.T) {
	failed := errors.New("failed")
	for _, c := range []struct {
		name          string
		policy        uint32
		before, after time.Duration
		during        time.Duration
	}{
		{"normal", unix.SCHED_NORMAL, ownSlice(), ownSlice(), promptSlice},
		{"short already", unix.SCHED_NORMAL, promptSlice, ownSlice(), promptSlice},
		{"batch", unix.SCHED_BATCH, 5 * time.Millisecond, 5 * time.Millisecond, 5 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			onThread(t, func(own unix.SchedAttr) {
				own.Policy, own.Nice, own.Runtime = c.policy, 3, uint64(c.before)
				if err := unix.SchedSetAttr(0, &own, 0); err != nil {
					t.Error(err)
					return
				}
				err := promptly(func(fd int) error {
					expected := own
					expected.Runtime = uint64(c.during)
					if a, err := unix.SchedGetAttr(0, 0); fd != 7 || err != nil || *a != expected {
						t.Errorf("file %d: %+v, %v, expected %+v", fd, a, err, expected)
					}
					return failed
				})(7)
				own.Runtime = uint64(c.after)
				if a, getErr := unix.SchedGetAttr(0, 0); !errors.Is(err, failed) || getErr != nil || *a != own {
					t.Errorf("%v; %+v, %v, expected %+v", err, a, getErr, own)
				}
			})
		})
	}
}

// onThread calls fn on a thread that ends with it, with what the thread's attributes are.
func onThread(t *testing.T, fn func(unix.SchedAttr)) {
	t.Helper()
	own, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if ownSlice() == 0 {
		t.Skip("this kernel's threads have no slices: Linux 6.12 has")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		fn(*own)
	}()
	<-done
}
