//go:build cgo

package lmdb

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// LMDB's locks are fcntl locks: when a process opens an environment twice, the
// first close drops the locks of the other one, and both go on to corrupt the
// file. Nothing in LMDB notices. So every open environment is registered here,
// by the identity of its directory, whatever path leads to it.

type envKey struct {
	dev, ino uint64
	file     string // with NoSubdir, the name in that directory
}

var open = struct {
	sync.Mutex
	envs map[envKey]string // the path it was opened by
}{envs: map[envKey]string{}}

// register claims the environment at path for this process.
func register(path string, flags uint) (envKey, error) {
	key := envKey{}
	dir := path
	if flags&NoSubdir != 0 {
		dir, key.file = filepath.Split(path)
		if dir == "" {
			dir = "."
		}
	}
	info, err := os.Stat(dir)
	if err != nil {
		return key, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() {
		return key, &OpError{Op: "mdb_env_open", Errno: syscall.ENOTDIR}
	}
	key.dev, key.ino = uint64(st.Dev), st.Ino //nolint:unconvert // Dev is an int32 on macOS
	open.Lock()
	defer open.Unlock()
	if at, taken := open.envs[key]; taken {
		return key, fmt.Errorf("%w (as %s)", &OpError{Op: "mdb_env_open: already open in this process", Errno: syscall.EBUSY}, at)
	}
	open.envs[key] = path
	return key, nil
}

func unregister(key envKey) {
	open.Lock()
	delete(open.envs, key)
	open.Unlock()
}
