package dbkernel

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// Hold says that somebody who isn't connected all the time has the log up to LSN.
type Hold struct {
	Name string
	LSN  uint64
}

// holds is what the log is kept for while nobody reads it. Values that rise are
// saved now and then: an older one only holds more.
type holds struct {
	saving sync.Mutex // held while the file is written, before mu

	mu      sync.Mutex
	at      map[string]uint64
	unsaved bool
	lost    bool // what was saved can't be read: all of the log is held, until there is a hold again
	broken  bool // the byte limits took something that is held, and that was told
}

const (
	holdsName   = "holds.json"
	holdsMagic  = "unisondb-holds"
	holdsFormat = 1
	// maxHolderLen bounds the name of a hold, in bytes.
	maxHolderLen = 256
)

// HoldFor says that the one named has acknowledged the log up to lsn, and needs
// what is above, connected or not: age doesn't trim that, neither max_age nor
// pin_max_age, while max_bytes and pin_max_bytes do. The first call for a name is
// durable when it returns. Later ones only ever raise the position, cost nothing,
// and are saved every few seconds and at the close. A namespace with several holds
// keeps what the lowest asks for. Cutting the log off lowers them; a copy that
// takes the namespace's place has none. ErrInvalid, or why nothing can be opened
// or written.
func (n *Namespace) HoldFor(name string, lsn uint64) error {
	if name == "" || len(name) > maxHolderLen || !utf8.ValidString(name) {
		return fmt.Errorf("%w holder %q of namespace %q: use 1 to %d bytes of text", ErrInvalid, name, n.name, maxHolderLen)
	}
	if n.staged {
		return n.notReady()
	}
	if err := n.acquireLog(); err != nil {
		return err
	}
	defer n.releaseLog()
	if n.holds.raise(name, min(lsn, n.commit.Load())) {
		return nil
	}
	if err := n.saveHolds(); err != nil {
		return fmt.Errorf("noting what the log of namespace %q is held for: %w", n.name, err)
	}
	return nil
}

// EndHold forgets a name's hold, if it has one.
func (n *Namespace) EndHold(name string) error {
	if err := n.acquireLog(); err != nil {
		return err
	}
	defer n.releaseLog()
	h := &n.holds
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, known := h.at[name]; known {
		delete(h.at, name)
		h.unsaved = true
	}
	return nil
}

// Held lists what the log is held for, by name.
func (n *Namespace) Held() ([]Hold, error) {
	if err := n.acquireLog(); err != nil {
		return nil, err
	}
	defer n.releaseLog()
	h := &n.holds
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]Hold, 0, len(h.at))
	for name, lsn := range h.at {
		all = append(all, Hold{Name: name, LSN: lsn})
	}
	slices.SortFunc(all, func(a, b Hold) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// raise moves a hold up. It answers false where the name had none: then it has one
// in memory, which has to be saved before anybody relies on it.
func (h *holds) raise(name string, lsn uint64) (known bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	at, known := h.at[name]
	if h.at == nil {
		h.at = map[string]uint64{}
	}
	if !known || lsn > at {
		h.at[name], h.unsaved = lsn, true
	}
	if !known {
		h.lost = false
	}
	return known
}

// from is the first LSN that is held; the highest number where none is.
func (h *holds) from() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	first := ^uint64(0)
	if h.lost {
		first = 0
	}
	for _, lsn := range h.at {
		first = min(first, lsn+1)
	}
	return first
}

// brokenBy reports, once, that the log begins above what is held.
func (h *holds) brokenBy(firstLSN uint64) bool {
	from := h.from()
	h.mu.Lock()
	defer h.mu.Unlock()
	broken := len(h.at) > 0 && from < firstLSN
	tell := broken && !h.broken
	h.broken = broken
	return tell
}

// saveHolds makes the holds durable if they have changed.
func (n *Namespace) saveHolds() error {
	h := &n.holds
	h.saving.Lock()
	defer h.saving.Unlock()
	h.mu.Lock()
	at, unsaved := maps.Clone(h.at), h.unsaved
	h.unsaved = false
	h.mu.Unlock()
	if !unsaved {
		return nil
	}
	err := writeHolds(n.db.opts.FS, n.dir, at)
	if err != nil {
		h.mu.Lock()
		h.unsaved = true
		h.mu.Unlock()
	}
	return diskFull(err)
}

// tendHolds saves the holds now and then. Of a handle that has ended it saves none:
// another may have the directory.
func (n *Namespace) tendHolds() {
	if err := n.acquireLog(); err != nil {
		return
	}
	defer n.releaseLog()
	n.keepHolds()
}

// keepHolds saves the holds where nobody waits for it.
func (n *Namespace) keepHolds() {
	if err := n.saveHolds(); err != nil {
		n.logger.Warn("what the log is held for couldn't be saved; it is tried again", "error", err)
	}
}

// loadHolds reads what was saved. A file that is damaged holds all of the log: what
// it said can't be told from what it might have said.
func (n *Namespace) loadHolds() error {
	at, err := readHolds(n.db.opts.FS, n.dir)
	lost := errors.Is(err, ErrDamaged)
	if err != nil && !lost {
		return err
	}
	if lost {
		n.logger.Error("what the log is held for can't be read; age trims nothing until it is known again", "error", err)
	}
	h := &n.holds
	h.mu.Lock()
	defer h.mu.Unlock()
	h.at, h.lost, h.unsaved = at, lost, false
	return nil
}

// holdsFile is a namespace's holds.json, ended by its checksum as meta.json is.
type holdsFile struct {
	Magic  string            `json:"magic"`
	Format int               `json:"format"`
	Holds  map[string]uint64 `json:"holds"`
}

func writeHolds(fsys vfs.FS, dir string, at map[string]uint64) error {
	b, err := json.MarshalIndent(holdsFile{Magic: holdsMagic, Format: holdsFormat, Holds: at}, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(fsys, filepath.Join(dir, holdsName), codec.Seal(b))
}

// readHolds reads a directory's holds; none where there is no file. ErrDamaged,
// ErrNewerFormat.
func readHolds(fsys vfs.FS, dir string) (map[string]uint64, error) {
	name := filepath.Join(dir, holdsName)
	b, err := readFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var f holdsFile
	err = json.Unmarshal(b, &f)
	if err == nil && f.Magic == holdsMagic && f.Format > holdsFormat {
		return nil, fmt.Errorf("%w: %s has format %d, this build reads up to %d: use a newer build; nothing was touched", ErrNewerFormat, name, f.Format, holdsFormat)
	}
	if err == nil && (f.Magic != holdsMagic || f.Format < 1) {
		err = errors.New("doesn't say what it is")
	}
	if err == nil {
		err = codec.CheckSeal(b)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s %w", ErrDamaged, name, err)
	}
	return f.Holds, nil
}

// lowerHolds takes the holds of a closed namespace down to where its log is about
// to end: the LSNs behind it will be other records', which nobody has acknowledged.
func (db *DB) lowerHolds(dir string, last uint64) error {
	at, err := readHolds(db.opts.FS, dir)
	if errors.Is(err, ErrDamaged) {
		return nil // all is held anyway
	}
	lowered := false
	for name, lsn := range at {
		if lsn > last {
			at[name], lowered = last, true
		}
	}
	if err != nil || !lowered {
		return err
	}
	return writeHolds(db.opts.FS, dir, at)
}
