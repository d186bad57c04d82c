package process

import (
	"bytes"
	"os"
	"strconv"
	"time"
)

func procFile(pid int, name string) string {
	return "/proc/" + strconv.Itoa(pid) + "/" + name
}

// ticksPerSecond is USER_HZ, which Linux fixes for what it shows to programs.
const ticksPerSecond = 100

// memoryOf is what a process has resident, in bytes; false: it can't be told.
func memoryOf(pid int) (int64, bool) {
	data, err := os.ReadFile(procFile(pid, "statm"))
	if err != nil {
		return 0, false
	}
	fields := bytes.Fields(data)
	if len(fields) < 2 {
		return 0, false
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	return pages * int64(os.Getpagesize()), err == nil
}

// cpuOf is the processor time that a process has used.
func cpuOf(pid int) time.Duration {
	data, err := os.ReadFile(procFile(pid, "stat"))
	if err != nil {
		return 0
	}
	// The name, in parentheses, may hold anything.
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	if len(fields) < 13 {
		return 0
	}
	user, err1 := strconv.ParseInt(string(fields[11]), 10, 64)
	system, err2 := strconv.ParseInt(string(fields[12]), 10, 64)
	if err1 != nil || err2 != nil {
		return 0
	}
	return time.Duration(user+system) * (time.Second / ticksPerSecond)
}
