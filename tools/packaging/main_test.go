// Package packaging_test holds what a distribution or an image is made of against the program.
package packaging_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// root is the repository.
const root = "../.."

var built struct {
	once sync.Once
	dir  string
	err  error
}

func TestMain(m *testing.M) {
	status := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(status)
}

// installation is `make install` into an empty directory, once for all tests. It returns the directory.
func installation(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "packaging"); built.err == nil {
			built.err = install(filepath.Join(built.dir, "bin"), filepath.Join(built.dir, "root"))
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, "root")
}

// install has make build and install everything. Go compiles with its own flags, as it does for all other tests, and links without what debuggers read.
func install(bin, destination string) error {
	return run("make", "install", "GO_FLAGS=", "LDFLAGS=-s -w", "BIN="+bin, "MAN="+filepath.Join(bin, "man1"), "DESTDIR="+destination, "PREFIX=/usr")
}

// run runs a command in the repository.
func run(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// read is a file of the repository.
func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
