package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// What is made is for the owner alone: the files hold other people's data.
const (
	fileMode = 0o600
	dirMode  = 0o700
)

// OS is the operating system's file system.
func OS() FS { return osFS{} }

// IsOS reports whether fsys is the operating system's, nothing in between.
func IsOS(fsys FS) bool {
	_, ok := fsys.(osFS)
	return ok
}

type osFS struct{}

func (osFS) Create(name string) (File, error) {
	return openFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

func (osFS) Open(name string) (File, error) { return openFile(name, os.O_RDWR) }

func (osFS) OpenRead(name string) (File, error) { return openFile(name, os.O_RDONLY) }

func (osFS) Rename(oldName, newName string) error { return os.Rename(oldName, newName) }

func (osFS) Remove(name string) error { return os.Remove(name) }

func (osFS) RemoveAll(name string) error { return os.RemoveAll(name) }

func (osFS) MkdirAll(dir string) error { return os.MkdirAll(dir, dirMode) }

func (osFS) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

func (osFS) Stat(name string) (fs.FileInfo, error) { return os.Stat(name) }

// SyncDir opens the directory anew each time: an error that nobody has seen
// yet is then reported here.
func (osFS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Lock uses flock, which the system releases when the process dies, however it dies.
func (osFS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, err
	}
	if err := flock(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func flock(f *os.File) error { return flockAs(f, syscall.LOCK_EX) }

func flockAs(f *os.File, how int) error {
	rc, err := f.SyscallConn()
	if err != nil {
		return err
	}
	err = control(rc, func(fd int) error {
		return syscall.Flock(fd, how|syscall.LOCK_NB)
	})
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return fmt.Errorf("%s: %w", f.Name(), ErrLocked)
	}
	if err != nil {
		return &fs.PathError{Op: "flock", Path: f.Name(), Err: err}
	}
	return nil
}

// control runs a system call on a descriptor that can't be closed meanwhile,
// again while it is interrupted by a signal.
func control(rc syscall.RawConn, call func(fd int) error) error {
	var failed error
	err := rc.Control(func(fd uintptr) {
		for {
			if failed = call(int(fd)); !errors.Is(failed, syscall.EINTR) {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	return failed
}

// osFile is an open file. What differs between systems is in os_linux.go and
// os_other.go: WritevAt, SyncData and Allocate.
type osFile struct {
	*os.File
	rc syscall.RawConn
}

func openFile(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, flag, fileMode)
	if err != nil {
		return nil, err
	}
	rc, err := f.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &osFile{File: f, rc: rc}, nil
}

// Size is the file's length in bytes.
func (f *osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f *osFile) fail(op string, err error) error {
	if err == nil {
		return nil
	}
	var wrapped *fs.PathError
	if errors.As(err, &wrapped) {
		return err
	}
	return &fs.PathError{Op: op, Path: f.Name(), Err: err}
}

// extend writes zeros where the file doesn't reach yet: the slow way to
// reserve blocks. What is there already stays.
func (f *osFile) extend(off, n int64) error {
	size, err := f.Size()
	if err != nil {
		return err
	}
	zeros := make([]byte, 64<<10)
	for at := max(off, size); at < off+n; {
		piece := zeros[:min(int64(len(zeros)), off+n-at)]
		m, err := f.WriteAt(piece, at)
		if err != nil {
			return err
		}
		at += int64(m)
	}
	return nil
}

// ShareLock takes a shared lock on a file of the operating system that Lock takes an
// exclusive one on. The file must be there, and stays as it is. ErrLocked,
// fs.ErrNotExist.
func ShareLock(name string) (io.Closer, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	if err := flockAs(f, syscall.LOCK_SH); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
