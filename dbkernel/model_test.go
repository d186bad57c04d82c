package dbkernel

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// model is what a namespace should answer, in plain maps: no log, no memtable,
// no tree, one LSN after another.
type model struct {
	now     time.Time
	writes  int // numbers the writes: the model's versions
	kv      map[string]modelCell
	rows    map[string]map[string]modelCell
	objects map[string]modelCell // the value is the object's bytes
	own     map[string]modelCell // data models' cells, by ownCell
}

// ownCell names a data model's cell.
func ownCell(model, key string) string { return model + "/" + key }

// modelCell is a value. Its version is the number of the write that made it.
type modelCell struct {
	value   []byte
	expiry  time.Time
	version int
}

func newModel(now time.Time) *model {
	return &model{
		now: now,
		kv:  map[string]modelCell{}, rows: map[string]map[string]modelCell{}, objects: map[string]modelCell{}, own: map[string]modelCell{},
	}
}

// editKind says what an edit does.
type editKind int

const (
	editPut editKind = iota
	editDelete
	editPutColumn
	editDeleteColumn
	editDeleteRow
	editPutObject
	editDeleteObject
	editPutModel // the column is the model's name
	editDeleteModel
)

// edit is one change within a write.
type edit struct {
	kind   editKind
	key    string
	column string
	value  []byte
	ttl    time.Duration
}

func (e edit) String() string {
	names := [...]string{"put", "delete", "put column", "delete column", "delete row", "put object", "delete object", "put model", "delete model"}
	s := fmt.Sprintf("%s %q", names[e.kind], e.key)
	if e.column != "" {
		s += "/" + e.column
	}
	if e.value != nil {
		s += fmt.Sprintf(" (%d bytes)", len(e.value))
	}
	if e.ttl != 0 {
		s += " for " + e.ttl.String()
	}
	return s
}

// apply makes the edits one write, in order.
func (m *model) apply(edits []edit) {
	m.writes++
	for _, e := range edits {
		c := modelCell{value: e.value, version: m.writes}
		if e.ttl != 0 {
			c.expiry = m.now.Add(e.ttl)
		}
		switch e.kind {
		case editPut:
			m.kv[e.key] = c
		case editDelete:
			delete(m.kv, e.key)
		case editPutColumn:
			if m.rows[e.key] == nil {
				m.rows[e.key] = map[string]modelCell{}
			}
			m.rows[e.key][e.column] = c
		case editDeleteColumn:
			delete(m.rows[e.key], e.column)
		case editDeleteRow:
			delete(m.rows, e.key)
		case editPutObject:
			m.objects[e.key] = c
		case editDeleteObject:
			delete(m.objects, e.key)
		case editPutModel:
			m.own[ownCell(e.column, e.key)] = c
		case editDeleteModel:
			delete(m.own, ownCell(e.column, e.key))
		}
	}
}

// visible reports whether the cell may be seen.
func (m *model) visible(c modelCell) bool { return c.expiry.IsZero() || c.expiry.After(m.now) }

// clone is the model as it is, for expectations that outlive it.
func (m *model) clone() *model {
	c := *m
	c.kv, c.objects, c.own, c.rows = maps.Clone(m.kv), maps.Clone(m.objects), maps.Clone(m.own), map[string]map[string]modelCell{}
	for key, row := range m.rows {
		c.rows[key] = maps.Clone(row)
	}
	return &c
}

// wantValue is what a read of a key or object should answer. An empty version
// means that there is none.
type wantValue struct {
	value   []byte
	version string
	expiry  time.Time
}

func (m *model) cellOf(cells map[string]modelCell, key string) wantValue {
	c, ok := cells[key]
	if !ok || !m.visible(c) {
		return wantValue{}
	}
	return wantValue{value: c.value, version: fmt.Sprint(c.version), expiry: c.expiry}
}

func (m *model) get(key string) wantValue    { return m.cellOf(m.kv, key) }
func (m *model) object(key string) wantValue { return m.cellOf(m.objects, key) }
func (m *model) ownKey(model, key string) wantValue {
	return m.cellOf(m.own, ownCell(model, key))
}

// wantRow is what a read of a row should answer.
type wantRow struct {
	columns map[string][]byte
	version string
	expiry  time.Time
}

// row reads all columns of a row, or those named.
func (m *model) row(key string, columns []string) wantRow {
	w := wantRow{columns: map[string][]byte{}}
	var parts []string
	for column, c := range m.rows[key] {
		if !m.visible(c) {
			continue
		}
		parts = append(parts, fmt.Sprintf("%s=%d", column, c.version))
		if !c.expiry.IsZero() && (w.expiry.IsZero() || c.expiry.Before(w.expiry)) {
			w.expiry = c.expiry
		}
		if columns == nil || slices.Contains(columns, column) {
			w.columns[column] = c.value
		}
	}
	slices.Sort(parts)
	w.version = strings.Join(parts, " ")
	return w
}

// inScan reports whether a scan covers the key.
func inScan(s Scan, key string) bool {
	k := []byte(key)
	switch {
	case !bytes.HasPrefix(k, s.Prefix),
		len(s.Start) > 0 && bytes.Compare(k, s.Start) < 0,
		len(s.End) > 0 && bytes.Compare(k, s.End) >= 0:
		return false
	case len(s.After) == 0:
		return true
	case s.Reverse:
		return bytes.Compare(k, s.After) < 0
	default:
		return bytes.Compare(k, s.After) > 0
	}
}

// scanKeys lists the keys of a page and whether more follow. shown says which
// keys are there at all.
func scanKeys(s Scan, all []string, shown func(key string) bool) (page []string, more bool) {
	for _, key := range all {
		if inScan(s, key) && shown(key) {
			page = append(page, key)
		}
	}
	slices.Sort(page)
	if s.Reverse {
		slices.Reverse(page)
	}
	if s.Limit > 0 && len(page) > s.Limit {
		return page[:s.Limit], true
	}
	return page, false
}

func (m *model) scanKV(s Scan) ([]string, bool) {
	return scanKeys(s, slices.Collect(maps.Keys(m.kv)), func(key string) bool { return m.get(key).version != "" })
}

func (m *model) scanOwn(model string, s Scan) ([]string, bool) {
	var keys []string
	for cell := range m.own {
		if key, ok := strings.CutPrefix(cell, ownCell(model, "")); ok {
			keys = append(keys, key)
		}
	}
	return scanKeys(s, keys, func(string) bool { return true })
}

func (m *model) scanObjects(s Scan) ([]string, bool) {
	return scanKeys(s, slices.Collect(maps.Keys(m.objects)), func(key string) bool { return m.object(key).version != "" })
}

func (m *model) scanRows(s Scan) ([]string, bool) {
	return scanKeys(s, slices.Collect(maps.Keys(m.rows)), func(key string) bool {
		r := m.row(key, s.Columns)
		return r.version != "" && (s.Columns == nil || len(r.columns) > 0)
	})
}

// modelTx is an interactive transaction on the model.
type modelTx struct {
	m      *model
	reads  map[string]modelRead // by what was read
	writes []edit               // what a commit applies
	put    map[string]edit      // by cell; the transaction's own puts and deletes
	rows   map[string]bool      // rows that it deletes
	object map[string][]byte    // objects that it writes
	gone   map[string]bool      // objects that it deletes
}

// modelRead is something that a transaction saw.
type modelRead struct {
	again   func() string // its version at the moment
	version string
	expires bool // it may vanish by the clock alone
}

func (m *model) begin() *modelTx {
	return &modelTx{
		m: m, reads: map[string]modelRead{}, put: map[string]edit{}, rows: map[string]bool{},
		object: map[string][]byte{}, gone: map[string]bool{},
	}
}

// conflicts reports whether something that was read has changed.
func (t *modelTx) conflicts() bool {
	for _, r := range t.reads {
		if r.again() != r.version {
			return true
		}
	}
	return false
}

// clocked reports whether something that was read may expire.
func (t *modelTx) clocked() bool {
	for _, r := range t.reads {
		if r.expires {
			return true
		}
	}
	return false
}

// get reads a key in the transaction. A value of its own has the version "own".
func (t *modelTx) get(key string) (w wantValue, conflict bool) {
	if e, ok := t.put["k"+key]; ok {
		if e.kind == editDelete {
			return wantValue{}, false
		}
		return wantValue{value: e.value, version: "own"}, false
	}
	if t.conflicts() {
		return wantValue{}, true
	}
	w = t.m.get(key)
	t.reads["k"+key] = modelRead{
		again: func() string { return t.m.get(key).version }, version: w.version, expires: !w.expiry.IsZero(),
	}
	return w, false
}

// ownKey reads a data model's key in the transaction.
func (t *modelTx) ownKey(model, key string) (w wantValue, conflict bool) {
	cell := "m" + ownCell(model, key)
	if e, ok := t.put[cell]; ok {
		if e.kind == editDeleteModel {
			return wantValue{}, false
		}
		return wantValue{value: e.value, version: "own"}, false
	}
	if t.conflicts() {
		return wantValue{}, true
	}
	w = t.m.ownKey(model, key)
	t.reads[cell] = modelRead{again: func() string { return t.m.ownKey(model, key).version }, version: w.version}
	return w, false
}

func columnCell(row, column string) string { return fmt.Sprintf("r%q/%s", row, column) }

// row reads a row in the transaction.
func (t *modelTx) row(key string) (columns map[string][]byte, conflict bool) {
	columns = map[string][]byte{}
	if !t.rows[key] {
		if t.conflicts() {
			return nil, true
		}
		w := t.m.row(key, nil)
		columns = w.columns
		t.reads["r"+key] = modelRead{
			again: func() string { return t.m.row(key, nil).version }, version: w.version, expires: !w.expiry.IsZero(),
		}
	}
	for _, e := range t.put {
		if e.key == key && e.kind == editPutColumn {
			columns[e.column] = e.value
		} else if e.key == key && e.kind == editDeleteColumn {
			delete(columns, e.column)
		}
	}
	return columns, false
}

// stat looks for an object in the transaction.
func (t *modelTx) stat(key string) (w wantValue, conflict bool) {
	if data, ok := t.object[key]; ok {
		return wantValue{value: data, version: "own"}, false
	}
	if t.gone[key] {
		return wantValue{}, false
	}
	if t.conflicts() {
		return wantValue{}, true
	}
	w = t.m.object(key)
	t.reads["o"+key] = modelRead{
		again: func() string { return t.m.object(key).version }, version: w.version, expires: !w.expiry.IsZero(),
	}
	return w, false
}

// write buffers an edit.
func (t *modelTx) write(e edit) {
	switch e.kind {
	case editPut, editDelete:
		t.put["k"+e.key] = e
	case editPutColumn, editDeleteColumn:
		t.put[columnCell(e.key, e.column)] = e
	case editDeleteRow:
		t.rows[e.key] = true
		maps.DeleteFunc(t.put, func(_ string, p edit) bool {
			return p.key == e.key && (p.kind == editPutColumn || p.kind == editDeleteColumn)
		})
	case editPutObject: // appends
		t.object[e.key] = append(slices.Clone(t.object[e.key]), e.value...)
		delete(t.gone, e.key)
		e.value = t.object[e.key]
	case editDeleteObject:
		t.gone[e.key] = true
	case editPutModel, editDeleteModel:
		t.put["m"+ownCell(e.column, e.key)] = e
	}
	t.writes = append(t.writes, e)
}
