package config

import (
	"io/fs"
	"testing"
	"testing/fstest"
)

func TestMemoryHonoursCgroups(t *testing.T) {
	const physical = 8 << 30
	tests := []struct {
		name  string
		files map[string]string
		want  int64
	}{
		{"no cgroups", nil, physical},
		{"no limit", map[string]string{
			"proc/self/cgroup":           "0::/a\n",
			"sys/fs/cgroup/a/limit":      "1",
			"sys/fs/cgroup/a/memory.max": "max\n",
		}, physical},
		{"version 2", map[string]string{
			"proc/self/cgroup": "0::/system.slice/unisondb.service\n",
			"sys/fs/cgroup/system.slice/unisondb.service/memory.max": "1073741824\n",
		}, 1 << 30},
		{"version 2, limited above", map[string]string{
			"proc/self/cgroup":             "0::/a/b\n",
			"sys/fs/cgroup/a/memory.max":   "536870912\n",
			"sys/fs/cgroup/a/b/memory.max": "max\n",
		}, 512 << 20},
		{"version 2, inside a container", map[string]string{
			"proc/self/cgroup":         "0::/\n",
			"sys/fs/cgroup/memory.max": "268435456\n",
		}, 256 << 20},
		{"version 1", map[string]string{
			"proc/self/cgroup": "12:cpu,cpuacct:/x\n9:memory:/docker/abc\n0::/\n",
			"sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": "134217728\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":            "9223372036854771712\n",
		}, 128 << 20},
		{"version 1, the host's path inside a container", map[string]string{
			"proc/self/cgroup":                           "9:memory:/docker/abc\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "67108864\n",
		}, 64 << 20},
		{"nonsense", map[string]string{
			"proc/self/cgroup":         "what\n0::/../../..\n",
			"sys/fs/cgroup/memory.max": "-1\n",
		}, physical},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := fstest.MapFS{}
			for name, text := range tt.files {
				root[name] = &fstest.MapFile{Data: []byte(text)}
			}
			if got := memory(root, func(fs.FS) int64 { return physical }); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
	if got := memory(fstest.MapFS{}, func(fs.FS) int64 { return 0 }); got != fallbackMemory {
		t.Errorf("a machine that says nothing: got %d, want %d", got, fallbackMemory)
	}
}

func TestMachine(t *testing.T) {
	m := machine()
	if m.memoryLimit < 1<<20 || m.pluginDir == "" {
		t.Errorf("this machine gives %+v", m)
	}
}
