package dbkernel

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// metaFormat is the format of meta.json that this build writes, and the newest it reads.
const metaFormat = codec.MetaFormat

// meta is a namespace's meta.json. It is replaced as a whole and durable before
// anything relies on it.
type meta struct {
	Magic     string    `json:"magic"` // metaMagic
	Format    int       `json:"format"`
	Lineage   Lineage   `json:"lineage"`
	Engine    string    `json:"engine"`
	CreatedAt time.Time `json:"created_at"`
	// LastEpoch is the highest epoch number that this node ever began here, even
	// if its record never became durable: no number is used twice.
	LastEpoch uint64 `json:"last_epoch"`
	// Epochs is the epoch table. A row whose record isn't in the log doesn't count.
	Epochs []EpochStart `json:"epochs"`
}

const (
	metaName  = "meta.json"
	metaMagic = codec.MetaMagic
	// tmpEnding ends the name of a file that isn't complete yet.
	tmpEnding = ".tmp"
)

func readMeta(fsys vfs.FS, dir string) (m meta, err error) {
	name := filepath.Join(dir, metaName)
	b, err := readFile(fsys, name)
	if err != nil {
		return m, err
	}
	var version struct {
		Magic  string `json:"magic"`
		Format int    `json:"format"`
	}
	err = json.Unmarshal(b, &version)
	if err == nil && (version.Magic != metaMagic || version.Format < 1) {
		err = errors.New("it doesn't say what it is")
	}
	if err != nil {
		return m, fmt.Errorf("%w: %s is not readable (%w): restore it from a backup, or set the directory aside and let the namespace be replicated again", ErrDamaged, name, err)
	}
	if version.Format > metaFormat {
		return m, fmt.Errorf("%w: %s has format %d, this build reads up to %d: use a newer build; nothing was touched", ErrNewerFormat, name, version.Format, metaFormat)
	}
	if err := codec.CheckSeal(b); err != nil {
		return m, fmt.Errorf("%w: %s %w: restore it from a backup, or set the directory aside and let the namespace be replicated again", ErrDamaged, name, err)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("%w: %s: %w", ErrDamaged, name, err)
	}
	return m, nil
}

func (m meta) write(fsys vfs.FS, dir string) error {
	m.Magic = metaMagic
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(fsys, filepath.Join(dir, metaName), codec.Seal(b))
}

// readFile reads a whole file.
func readFile(fsys vfs.FS, name string) ([]byte, error) {
	f, err := fsys.OpenRead(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b, nil
}

// replaceFile makes name hold b, durably and all at once: after a crash it has
// the old content or the new.
func replaceFile(fsys vfs.FS, name string, b []byte) error {
	tmp := name + tmpEnding
	if err := fsys.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := fsys.Create(tmp)
	if err != nil {
		return err
	}
	if _, err = f.WritevAt([][]byte{b}, 0); err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := fsys.Rename(tmp, name); err != nil {
		return err
	}
	return fsys.SyncDir(filepath.Dir(name))
}
