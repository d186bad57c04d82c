package dbkernel

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
)

// ValidModelName reports whether name can be a data model's: as a namespace's, but
// none of the words that changes use for keys, rows and large objects.
func ValidModelName(name string) bool {
	return ValidName(name) && name != EntryKV && name != EntryRow && name != EntryObject
}

func checkModel(model string) error {
	if !ValidModelName(model) {
		return fmt.Errorf("%w model name %q: use 1 to %d letters, digits, '.', '_' and '-', beginning with a letter or digit, and none of %q, %q and %q",
			ErrInvalid, model, MaxNameLen, EntryKV, EntryRow, EntryObject)
	}
	return nil
}

func checkModelKey(model string, key []byte) error {
	return errors.Join(checkModel(model), checkKey(key))
}

// GetModel reads a data model's key. ErrNotFound. The value's bytes are the caller's
// to read after the view is closed, but not to change.
func (v *View) GetModel(model string, key []byte) (Value, error) {
	if err := checkModelKey(model, key); err != nil {
		return Value{}, err
	}
	c, found, err := v.cell(codec.ModelKey(model, key))
	if err != nil {
		return Value{}, err
	}
	if !found {
		return Value{}, ErrNotFound
	}
	return valueOf(c), nil
}

// ScanModel reads a page of a data model's keys.
func (v *View) ScanModel(model string, s Scan) (Page[KVItem], error) {
	if err := checkModel(model); err != nil {
		return Page[KVItem]{}, err
	}
	return v.scanUnder(codec.ModelPrefix(model), s)
}

// GetModel reads a data model's key. ErrNotFound. A value that the transaction itself
// wrote has no version yet.
func (t *Tx) GetModel(model string, key []byte) (Value, error) {
	if err := checkModelKey(model, key); err != nil {
		return Value{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if w, ok := t.writes[string(codec.ModelKey(model, key))]; ok {
		if w.delete {
			return Value{}, ErrNotFound
		}
		return Value{Data: w.value}, nil
	}
	return t.readModel(model, key)
}

// readModel reads what is stored and joins it to the read set.
func (t *Tx) readModel(model string, key []byte) (Value, error) {
	v, done, err := t.reading()
	if err != nil {
		return Value{}, err
	}
	defer done()
	value, err := v.GetModel(model, key)
	if err == nil || errors.Is(err, ErrNotFound) {
		t.reads[string(codec.ModelKey(model, key))] = read{version: value.Version}
	}
	return value, err
}

// ExpectModel joins a data model's key to the read set as it was read elsewhere; an
// empty version says that it wasn't there. ErrConflict where it has another one, or
// gets one before the commit.
func (t *Tx) ExpectModel(model string, key []byte, version Version) error {
	if err := checkModelKey(model, key); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now, err := t.readModel(model, key)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if now.Version != version {
		return fmt.Errorf("%w: key %q of model %s has version %q, %q was read: read it again", ErrConflict, key, model, now.Version, version)
	}
	return nil
}

// PutModel sets a data model's key.
func (t *Tx) PutModel(model string, key, value []byte) error {
	if err := errors.Join(checkModelKey(model, key), checkValue(value)); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.write(codec.ModelKey(model, key), txWrite{value: slices.Clone(value)})
}

// DeleteModel removes a data model's key; an absent one is no error.
func (t *Tx) DeleteModel(model string, key []byte) error {
	if err := checkModelKey(model, key); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.write(codec.ModelKey(model, key), txWrite{delete: true})
}

// modelLSNs notes which record last touched a data model's cells, so that an index
// that nothing has touched needs no look into the log. It knows the records that
// were applied since the namespace was loaded.
type modelLSNs struct {
	mu    sync.Mutex
	since uint64 // all records above it were noted
	last  map[string]uint64
}

func (m *modelLSNs) begin(since uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.since, m.last = since, map[string]uint64{}
}

// note notes a write to a cell. Whoever applies calls it, before the record can be seen.
func (m *modelLSNs) note(cell []byte, lsn uint64) {
	model, _, err := codec.SplitModelKey(cell)
	if err != nil {
		return // nobody's
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.last[string(model)] != lsn {
		m.last[string(model)] = lsn
	}
}

// LastModelWrite is the newest record behind after that wrote to a data model's
// cells, committed or about to be; 0 if there is none. It is not known where after
// lies before what this process has applied.
func (n *Namespace) LastModelWrite(model string, after uint64) (lsn uint64, known bool) {
	if n.acquireLog() != nil {
		return 0, false
	}
	defer n.releaseLog()
	n.models.mu.Lock()
	defer n.models.mu.Unlock()
	if after < n.models.since {
		return 0, false
	}
	if last := n.models.last[model]; last > after {
		return last, true
	}
	return 0, true
}
