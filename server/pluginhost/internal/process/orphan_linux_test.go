package process

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// processEnd begins to watch a process; the answer waits for its end.
func processEnd(t *testing.T, pid int) func() {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		defer func() { _ = unix.Close(fd) }()
		for {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(patience.Milliseconds()))
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil || n != 1 {
				t.Errorf("process %d is still there (%v)", pid, err)
			}
			return
		}
	}
}
