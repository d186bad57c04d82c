package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Mem is a file system in memory, for tests. It knows what has been synced and
// what hasn't, separately for sectors of files, their lengths and the entries
// of directories, so that Crash can show what a power cut may leave behind.
//
// Content is kept in immutable pages, so that copies of it cost little: a test
// may crash a Mem tens of thousands of times.
type Mem struct {
	mu       sync.Mutex
	root     *memDir
	pending  []*dirOp // changes of directories that aren't durable, oldest first
	locks    map[string]bool
	used     int64 // pages
	capacity int64 // pages; below 0: no limit
}

// NewMem returns an empty file system.
func NewMem() *Mem {
	return &Mem{root: newMemDir(), locks: map[string]bool{}, capacity: -1}
}

// SetCapacity limits the disk to this many bytes, rounded up to pages. Beyond
// it writes and allocations fail with ENOSPC. Below 0 means no limit.
func (m *Mem) SetCapacity(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if bytes >= 0 {
		bytes = (bytes + pageSize - 1) / pageSize
	}
	m.capacity = bytes
}

// Used is how many bytes the files take on the disk, holes left out.
func (m *Mem) Used() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used * pageSize
}

// Create implements FS.
func (m *Mem) Create(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent("create", name)
	if err != nil {
		return nil, err
	}
	if _, ok := dir.entries[base]; ok {
		return nil, pathError("create", name, fs.ErrExist)
	}
	f := &memFile{dirty: map[int]uint8{}}
	m.change(dirChange{dir, base, f})
	return &memHandle{m: m, f: f, name: name, writable: true}, nil
}

// Open implements FS.
func (m *Mem) Open(name string) (File, error) { return m.open(name, true) }

// OpenRead implements FS.
func (m *Mem) OpenRead(name string) (File, error) { return m.open(name, false) }

func (m *Mem) open(name string, writable bool) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find("open", name)
	if err != nil {
		return nil, err
	}
	f, ok := n.(*memFile)
	if !ok {
		return nil, pathError("open", name, syscall.EISDIR)
	}
	return &memHandle{m: m, f: f, name: name, writable: writable}, nil
}

// Rename implements FS.
func (m *Mem) Rename(oldName, newName string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	oldDir, oldBase, err := m.parent("rename", oldName)
	if err != nil {
		return err
	}
	newDir, newBase, err := m.parent("rename", newName)
	if err != nil {
		return err
	}
	n, ok := oldDir.entries[oldBase]
	if !ok {
		return pathError("rename", oldName, fs.ErrNotExist)
	}
	if oldDir == newDir && oldBase == newBase {
		return nil
	}
	if err := replaceable(newDir.entries[newBase], n); err != nil {
		return pathError("rename", newName, err)
	}
	m.change(dirChange{oldDir, oldBase, nil}, dirChange{newDir, newBase, n})
	return nil
}

// replaceable says whether a rename of n may take the place of old.
func replaceable(old, n memNode) error {
	if old == nil {
		return nil
	}
	if _, ok := n.(*memDir); !ok {
		if _, ok := old.(*memDir); ok {
			return syscall.EISDIR
		}
		return nil
	}
	d, ok := old.(*memDir)
	if !ok {
		return syscall.ENOTDIR
	}
	if len(d.entries) > 0 {
		return syscall.ENOTEMPTY
	}
	return nil
}

// Remove implements FS.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent("remove", name)
	if err != nil {
		return err
	}
	n, ok := dir.entries[base]
	if !ok {
		return pathError("remove", name, fs.ErrNotExist)
	}
	if d, ok := n.(*memDir); ok && len(d.entries) > 0 {
		return pathError("remove", name, syscall.ENOTEMPTY)
	}
	m.change(dirChange{dir, base, nil})
	return nil
}

// RemoveAll implements FS.
func (m *Mem) RemoveAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent("remove", name)
	if err != nil {
		return ignoreMissing(err)
	}
	if n, ok := dir.entries[base]; ok {
		m.removeTree(dir, base, n)
	}
	return nil
}

func (m *Mem) removeTree(dir *memDir, base string, n memNode) {
	if d, ok := n.(*memDir); ok {
		for _, name := range d.names() {
			m.removeTree(d, name, d.entries[name])
		}
	}
	m.change(dirChange{dir, base, nil})
}

// MkdirAll implements FS.
func (m *Mem) MkdirAll(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.root
	for _, part := range split(dir) {
		n, ok := d.entries[part]
		if !ok {
			n = newMemDir()
			m.change(dirChange{d, part, n})
		}
		if d, ok = n.(*memDir); !ok {
			return pathError("mkdir", dir, syscall.ENOTDIR)
		}
	}
	return nil
}

// List implements FS.
func (m *Mem) List(dir string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, err := m.findDir("list", dir)
	if err != nil {
		return nil, err
	}
	return d.names(), nil
}

// Stat implements FS.
func (m *Mem) Stat(name string) (fs.FileInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find("stat", name)
	if err != nil {
		return nil, err
	}
	info := memInfo{name: filepath.Base(name)}
	if f, ok := n.(*memFile); ok {
		info.size = f.size
	} else {
		info.dir = true
	}
	return info, nil
}

// SyncDir implements FS.
func (m *Mem) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, err := m.findDir("fsync", dir)
	if err != nil {
		return err
	}
	m.syncDir(d)
	return nil
}

// Lock implements FS.
func (m *Mem) Lock(name string) (io.Closer, error) {
	f, err := m.Create(name)
	if err != nil {
		if f, err = m.Open(name); err != nil {
			return nil, err
		}
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	key := strings.Join(split(name), "/")
	if m.locks[key] {
		return nil, fmt.Errorf("%s: %w", name, ErrLocked)
	}
	m.locks[key] = true
	return &memLock{m: m, key: key}, nil
}

type memLock struct {
	m    *Mem
	key  string
	once sync.Once
}

// Close lets the lock go.
func (l *memLock) Close() error {
	l.once.Do(func() {
		l.m.mu.Lock()
		defer l.m.mu.Unlock()
		delete(l.m.locks, l.key)
	})
	return nil
}

// split cuts a path into its parts. Absolute and relative paths are the same:
// there is no working directory.
func split(name string) []string {
	name = strings.Trim(filepath.ToSlash(filepath.Clean("/"+name)), "/")
	if name == "" {
		return nil
	}
	return strings.Split(name, "/")
}

func (m *Mem) find(op, name string) (memNode, error) {
	var n memNode = m.root
	for _, part := range split(name) {
		d, ok := n.(*memDir)
		if !ok {
			return nil, pathError(op, name, syscall.ENOTDIR)
		}
		if n, ok = d.entries[part]; !ok {
			return nil, pathError(op, name, fs.ErrNotExist)
		}
	}
	return n, nil
}

func (m *Mem) findDir(op, name string) (*memDir, error) {
	n, err := m.find(op, name)
	if err != nil {
		return nil, err
	}
	d, ok := n.(*memDir)
	if !ok {
		return nil, pathError(op, name, syscall.ENOTDIR)
	}
	return d, nil
}

// parent finds the directory that holds name, and name's last part.
func (m *Mem) parent(op, name string) (*memDir, string, error) {
	parts := split(name)
	if len(parts) == 0 {
		return nil, "", pathError(op, name, fs.ErrInvalid)
	}
	last := len(parts) - 1
	n, err := m.find(op, strings.Join(parts[:last], "/"))
	if err != nil {
		return nil, "", pathError(op, name, fs.ErrNotExist)
	}
	d, ok := n.(*memDir)
	if !ok {
		return nil, "", pathError(op, name, syscall.ENOTDIR)
	}
	return d, parts[last], nil
}

func (d *memDir) names() []string {
	names := make([]string, 0, len(d.entries))
	for name := range d.entries {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func pathError(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: name, Err: err}
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// memInfo describes a file or directory. Times are zero: nothing of ours reads them.
type memInfo struct {
	name string
	size int64
	dir  bool
}

func (i memInfo) Name() string       { return i.name }
func (i memInfo) Size() int64        { return i.size }
func (i memInfo) ModTime() time.Time { return time.Time{} }
func (i memInfo) IsDir() bool        { return i.dir }
func (i memInfo) Sys() any           { return nil }

func (i memInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | dirMode
	}
	return fileMode
}
