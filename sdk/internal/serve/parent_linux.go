package serve

import (
	"os"
	"syscall"
)

const (
	// sysPidfdOpen is pidfd_open(2), which has one number on all of Go's
	// architectures but is missing in package syscall.
	sysPidfdOpen = 434
	// pidfdNonblock makes the descriptor one that Go's poller takes.
	pidfdNonblock = syscall.O_NONBLOCK
)

// awaitEvent returns when a process has ended, or at once where the kernel is too
// old to tell.
func awaitEvent(pid int) {
	fd, _, errno := syscall.Syscall(sysPidfdOpen, uintptr(pid), pidfdNonblock, 0)
	if errno != 0 {
		return
	}
	f := os.NewFile(fd, "pidfd")
	defer f.Close() //nolint:errcheck // nothing was written
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	// The descriptor becomes readable at the end of the process, when its children
	// have a new parent. That may have been before it was looked at for the first time: so
	// each look is at the parent itself.
	//nolint:errcheck // the caller looks for itself
	raw.Read(func(uintptr) bool { return os.Getppid() != pid })
}
