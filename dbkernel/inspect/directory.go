// Package inspect reads a namespace's files while no node runs on them, and changes
// none of their bytes: it dumps the log and says what is wrong with it, with the B+tree,
// and with what the two say of each other. It gets as far as it can with files that
// the kernel refuses to open.
package inspect

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/internal/wal"
	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// ErrRunning says that a node runs on the data directory.
var ErrRunning = errors.New("a node runs on this data directory")

// Names in a data directory and in a namespace's own.
const (
	namespacesDir  = "namespaces"
	incomingDir    = "incoming"
	lockName       = "LOCK"
	metaName       = "meta.json"
	logDir         = "wal"
	treeDir        = "db"
	quarantineName = "quarantine"
)

// Path is a namespace's directory in a data directory.
func Path(dataDir, namespace string) string {
	return filepath.Join(dataDir, namespacesDir, namespace)
}

// Namespaces lists the namespaces in a data directory, sorted. It needs no lock.
func Namespaces(dataDir string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(dataDir, namespacesDir))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// LockDataDir keeps nodes off a data directory until the Closer is closed; others may
// look at it meanwhile. Where no node has ever run there is nothing to lock, and the
// Closer is nil. ErrRunning.
func LockDataDir(dataDir string) (io.Closer, error) {
	lock, err := vfs.ShareLock(filepath.Join(dataDir, lockName))
	switch {
	case errors.Is(err, vfs.ErrLocked):
		return nil, fmt.Errorf("%w, %s: stop it first", ErrRunning, dataDir)
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return lock, nil
}

// Directory is a namespace's directory, kept from nodes while it is open.
type Directory struct {
	path string
	lock io.Closer // nil: nobody could have it open
}

// Open opens a namespace's directory: one of a data directory, or one that was set
// aside or copied elsewhere. ErrRunning, fs.ErrNotExist.
func Open(path string) (*Directory, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(path); err != nil {
		return nil, err
	} else if !info.IsDir() {
		return nil, fmt.Errorf("%s is no directory: give that of a namespace", path)
	}
	d := &Directory{path: path}
	if above := filepath.Base(filepath.Dir(path)); above == namespacesDir || above == incomingDir {
		if d.lock, err = LockDataDir(filepath.Dir(filepath.Dir(path))); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// Close lets nodes at the directory again.
func (d *Directory) Close() error {
	if d.lock == nil {
		return nil
	}
	return d.lock.Close()
}

// Path is the directory's absolute path.
func (d *Directory) Path() string { return d.path }

// Meta is what a namespace's meta.json says.
type Meta struct {
	Format    int       `json:"format"`
	Lineage   string    `json:"lineage"`
	Engine    string    `json:"engine"`
	CreatedAt time.Time `json:"created_at"`
	LastEpoch uint64    `json:"last_epoch"` // the highest that this node ever began
	Epochs    []Epoch   `json:"epochs"`
}

// Epoch is a row of the epoch table.
type Epoch struct {
	Epoch    uint64 `json:"epoch"`
	FirstLSN uint64 `json:"first_lsn"`
	Bits     uint64 `json:"bits,string"`
}

// Meta reads meta.json.
func (d *Directory) Meta() (m Meta, err error) {
	name := filepath.Join(d.path, metaName)
	b, err := os.ReadFile(name)
	if err != nil {
		return m, err
	}
	var head struct {
		Magic  string `json:"magic"`
		Format int    `json:"format"`
	}
	switch err := json.Unmarshal(b, &head); {
	case err != nil:
		return m, fmt.Errorf("%s is no JSON: %w", name, err)
	case head.Magic != codec.MetaMagic || head.Format < 1:
		return m, fmt.Errorf("%s doesn't say what it is", name)
	case head.Format > codec.MetaFormat:
		return m, fmt.Errorf("%s has format %d, this build reads up to %d: use a newer build", name, head.Format, codec.MetaFormat)
	}
	if err := codec.CheckSeal(b); err != nil {
		return m, fmt.Errorf("%s %w", name, err)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("%s: %w", name, err)
	}
	return m, nil
}

// log looks at the log of the lineage.
func (d *Directory) log(lineage string) (*wal.Inspection, error) {
	id, err := hex.DecodeString(lineage)
	if err != nil || len(id) != 16 {
		return nil, fmt.Errorf("%q is no lineage: expected 32 hexadecimal digits", lineage)
	}
	in, err := wal.Inspect(wal.Options{
		FS: vfs.OS(), Dir: filepath.Join(d.path, logDir), Lineage: [16]byte(id), SegmentSize: wal.MinSegmentSize, Logger: hclog.NewNullLogger(),
	})
	if err != nil {
		return nil, fmt.Errorf("the log: %w", err)
	}
	return in, nil
}
