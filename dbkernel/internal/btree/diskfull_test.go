//go:build linux

package btree

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestDiskFull fills a small file system: updates fail and change nothing, reads
// go on, and when there is room again so do updates.
func TestDiskFull(t *testing.T) {
	forFileEngines(t, func(t *testing.T, e engine, _ string) {
		if err := syscall.Mount("tmpfs", e.o.Dir, "tmpfs", 0, "size=24m"); err != nil {
			t.Skipf("mounting a small tmpfs takes root: %v", err)
		}
		t.Cleanup(func() {
			if err := syscall.Unmount(e.o.Dir, 0); err != nil {
				t.Errorf("unmount: %v", err)
			}
		})
		tree := e.open(t)
		defer func() {
			if err := tree.Close(); err != nil {
				t.Error(err)
			}
		}()
		update(t, tree, func(tx Tx) error { return writeUniform(tx, 1, 1000) })
		ballast := filepath.Join(e.o.Dir, "ballast")
		fillDisk(t, ballast)
		for range 2 {
			err := tree.Update(func(tx Tx) error { return writeUniform(tx, 2, 250_000) })
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("update on a full disk: %v", err)
			}
			if n, err := readOnce(tree, 0); n != 1 || err != nil {
				t.Fatalf("read on a full disk: %d, %v", n, err)
			}
		}
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		update(t, tree, func(tx Tx) error { return writeUniform(tx, 3, 1000) })
		if n, err := readOnce(tree, 0); n != 3 || err != nil {
			t.Errorf("with room again: %d, %v", n, err)
		}
	})
}

// fillDisk writes a file until no more fits.
func fillDisk(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for chunk := make([]byte, 1<<16); len(chunk) > 0; {
		if _, err = f.Write(chunk); err != nil {
			chunk = chunk[:len(chunk)/2]
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("filling the disk: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
