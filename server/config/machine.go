package config

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/zclconf/go-cty/cty"
)

// fallbackMemory is what a machine is taken to have that doesn't say.
const fallbackMemory = 2 << 30

// machine finds the defaults that depend on where the process runs.
func machine() defaults {
	m := defaults{pluginDir: "plugins", memoryLimit: memory(os.DirFS("/"), physicalMemory) / 2}
	if exe, err := os.Executable(); err == nil {
		m.pluginDir = filepath.Join(filepath.Dir(exe), "plugins")
	}
	if name, err := os.Hostname(); err == nil {
		if id, p := nodeName.take(cty.StringVal(name)); p == nil {
			m.hostName = id
		}
	}
	return m
}

// memory is how much of it the process may use, in bytes: the machine's, or
// what the cgroups it is in leave of that.
func memory(root fs.FS, physical func(fs.FS) int64) int64 {
	limit := physical(root)
	if limit <= 0 {
		limit = fallbackMemory
	}
	membership, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return limit
	}
	for line := range strings.Lines(string(membership)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		switch {
		case fields[0] == "0" && fields[1] == "":
			limit = min(limit, cgroupLimit(root, "sys/fs/cgroup", fields[2], "memory.max", limit))
		case strings.Contains(","+fields[1]+",", ",memory,"):
			limit = min(limit, cgroupLimit(root, "sys/fs/cgroup/memory", fields[2], "memory.limit_in_bytes", limit))
		}
	}
	return limit
}

// cgroupLimit is the smallest limit of a cgroup and those above it. Inside a
// container the path may be that of the host, of which only the top is mounted.
func cgroupLimit(root fs.FS, mount, group, file string, limit int64) int64 {
	for dir := path.Join("/", group); ; dir = path.Dir(dir) {
		if n, ok := readNumber(root, path.Join(mount, dir, file)); ok {
			limit = min(limit, n)
		}
		if dir == "/" {
			return limit
		}
	}
}

// readNumber reads a file that holds one positive number. "max" is none.
func readNumber(root fs.FS, name string) (int64, bool) {
	b, err := fs.ReadFile(root, name)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n, err == nil && n > 0
}
