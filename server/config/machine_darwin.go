package config

import (
	"io/fs"

	"golang.org/x/sys/unix"
)

// physicalMemory is the machine's memory in bytes, 0 where it can't be told.
func physicalMemory(fs.FS) int64 {
	n, err := unix.SysctlUint64("hw.memsize")
	if err != nil || n > 1<<62 {
		return 0
	}
	return int64(n)
}
