package process

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// maxSocketBase is how long the path of the directory for sockets may be: with
// go-plugin's names below it a socket's path must stay under 104 bytes.
const maxSocketBase = 56

// Sockets is the private directory that a node's sockets to its plugins are in.
type Sockets struct {
	dir string
}

// NewSockets names the directory of a node: below the system's directory for
// temporary files, because a socket's path must be short, and the same at each start,
// so that what a killed node left is wiped by the next.
func NewSockets(dataDir string) *Sockets {
	if abs, err := filepath.Abs(dataDir); err == nil {
		dataDir = abs
	}
	h := sha256.Sum256([]byte(dataDir))
	name := "unisondb-" + strconv.Itoa(os.Getuid()) + "-" + hex.EncodeToString(h[:6])
	base := os.TempDir()
	if len(base)+1+len(name) > maxSocketBase {
		base = "/tmp"
	}
	return &Sockets{dir: filepath.Join(base, name)}
}

// Wipe removes what an earlier run left.
func (s *Sockets) Wipe() error {
	if _, err := os.Lstat(s.dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, err := s.Dir(); err != nil {
		return err
	}
	return s.Remove()
}

// Dir makes the directory where it isn't there, and refuses one that others made
// or may look into.
func (s *Sockets) Dir() (string, error) {
	err := os.Mkdir(s.dir, 0o700)
	if err != nil && !os.IsExist(err) {
		return "", fmt.Errorf("make the directory for the plugins' sockets: %w: set TMPDIR to a directory that this user may write to", err)
	}
	info, err := os.Lstat(s.dir)
	if err != nil {
		return "", fmt.Errorf("make the directory for the plugins' sockets: %w", err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || info.Mode().Perm()&0o077 != 0 || ok && int(st.Uid) != os.Getuid() {
		return "", fmt.Errorf("%s is to be the directory for the plugins' sockets, and isn't one that belongs to this user alone: remove it", s.dir)
	}
	return s.dir, nil
}

// Remove removes the directory with all that is in it.
func (s *Sockets) Remove() error { return os.RemoveAll(s.dir) }
