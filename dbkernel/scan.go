package dbkernel

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strconv"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
)

// scanTime is how long a page may take before it ends early: a scan must not
// hold the B+tree's old pages for longer.
const scanTime = time.Second

// pager fills a page within its bounds.
type pager struct {
	limit    int
	seen     int
	items    int
	bytes    int
	deadline time.Time
}

func newPager(s Scan) pager {
	limit := s.Limit
	if limit <= 0 || limit > MaxPageItems {
		limit = MaxPageItems
	}
	return pager{limit: limit, deadline: time.Now().Add(scanTime)}
}

// fits reports whether an item of this size still belongs on the page. The
// first one always does.
func (p *pager) fits(size int) bool {
	if p.items > 0 && (p.items == p.limit || p.bytes+size > MaxPageLen) {
		return false
	}
	p.items++
	p.bytes += size
	return true
}

// late reports whether the time is up before the thing that was found last. The
// first one is never late, so that every page gets on.
func (p *pager) late() bool {
	p.seen++
	return p.seen > 1 && time.Now().After(p.deadline)
}

// bounds turns a scan's bounds into a range of cell keys. first is the cell key
// at which a key's cells begin, after the one behind all of them.
func (s Scan) bounds(all keyRange, first, after, prefix func([]byte) []byte) keyRange {
	r := all
	raise := func(low []byte) {
		if bytes.Compare(low, r.low) > 0 {
			r.low = low
		}
	}
	lower := func(high []byte) {
		if high != nil && (r.high == nil || bytes.Compare(high, r.high) < 0) {
			r.high = high
		}
	}
	if len(s.Prefix) > 0 {
		raise(first(s.Prefix))
		lower(codec.PrefixEnd(prefix(s.Prefix)))
	}
	if len(s.Start) > 0 {
		raise(first(s.Start))
	}
	if len(s.End) > 0 {
		lower(first(s.End))
	}
	switch {
	case len(s.After) > 0 && s.Reverse:
		lower(first(s.After))
	case len(s.After) > 0:
		raise(after(s.After))
	}
	return r
}

func allOf(typ byte) keyRange { return keyRange{[]byte{typ}, []byte{typ + 1}} }

// behind is the first key after key.
func behind(key []byte) []byte { return append(key, 0) }

// Scan reads a page of keys.
func (v *View) Scan(s Scan) (Page[KVItem], error) { return v.scanUnder([]byte{codec.TypeKV}, s) }

// scanUnder reads a page of the cells whose keys are a prefix and a key.
func (v *View) scanUnder(under []byte, s Scan) (page Page[KVItem], err error) {
	cell := func(key []byte) []byte { return append(slices.Clip(under), key...) }
	all := keyRange{under, codec.PrefixEnd(under)}
	r := s.bounds(all, cell, func(k []byte) []byte { return behind(cell(k)) }, cell)
	p := newPager(s)
	it := v.iterate(r, s.Reverse)
	defer it.close()
	for it.next() {
		item := KVItem{Key: it.key[len(under):], Value: valueOf(it.cell)}
		if s.KeysOnly {
			item.Data = nil
		}
		if p.late() || !p.fits(len(item.Key)+len(item.Data)) {
			page.More = true
			break
		}
		page.Items, page.Last = append(page.Items, item), item.Key
	}
	return page, it.err
}

// ScanObjects reads a page of large objects.
func (v *View) ScanObjects(s Scan) (page Page[Object], err error) {
	r := s.bounds(allOf(codec.TypeManifest), codec.ManifestKey, func(k []byte) []byte { return behind(codec.ManifestKey(k)) }, codec.ManifestKey)
	p := newPager(s)
	it := v.iterate(r, s.Reverse)
	defer it.close()
	for it.next() {
		o, _, err := objectOf(it.key[1:], it.cell)
		if err != nil {
			return page, err
		}
		if p.late() || !p.fits(len(o.Key)) {
			page.More = true
			break
		}
		page.Items, page.Last = append(page.Items, o), o.Key
	}
	return page, it.err
}

// ScanRows reads a page of rows.
func (v *View) ScanRows(s Scan) (page Page[RowItem], err error) {
	r := s.bounds(allOf(codec.TypeRow), codec.RowPrefix, func(k []byte) []byte { return codec.PrefixEnd(codec.RowPrefix(k)) }, codec.RowSearchPrefix)
	p := newPager(s)
	rows := rowReader{columns: s.Columns}
	var prefix []byte
	flush := func() (more bool) {
		if rows.cells == 0 {
			return true
		}
		wanted := s.Columns == nil || len(rows.values) > 0
		if p.late() || wanted && !p.fits(rows.bytes) {
			page.More = true
			return false
		}
		if page.Last, err = codec.SplitRowPrefix(prefix); err != nil {
			return false
		}
		if wanted {
			page.Items = append(page.Items, RowItem{Key: page.Last, Row: rows.row()})
		}
		rows = rowReader{columns: s.Columns}
		return true
	}
	it := v.iterate(r, s.Reverse)
	defer it.close()
	for it.next() {
		if !bytes.HasPrefix(it.key, prefix) || prefix == nil {
			if !flush() {
				return page, err
			}
			if prefix, err = codec.RowPrefixOf(it.key); err != nil {
				return page, err
			}
		}
		if err := rows.add(it.key, it.cell); err != nil {
			return page, err
		}
	}
	if it.err == nil {
		flush()
	}
	if err == nil {
		err = it.err
	}
	return page, err
}

// rowReader puts a row together from its cells.
type rowReader struct {
	columns []string // nil: all
	values  map[string][]byte
	cells   int
	bytes   int
	expiry  int64
	// versions sums the hashes of all cells' names and versions, so that the
	// order in which the cells come doesn't matter.
	versions uint64
}

func (r *rowReader) add(key []byte, c codec.Cell) error {
	_, column, err := codec.SplitColumnKey(key)
	if err != nil {
		return err
	}
	r.cells++
	r.versions += cellHash(key, c.Version)
	if c.Expiry != 0 && (r.expiry == 0 || c.Expiry < r.expiry) {
		r.expiry = c.Expiry
	}
	if r.columns != nil && !slices.Contains(r.columns, column) {
		return nil
	}
	if r.values == nil {
		r.values = map[string][]byte{}
	}
	r.values[column] = c.Value
	r.bytes += len(column) + len(c.Value)
	return nil
}

func (r *rowReader) row() Row {
	if r.values == nil {
		r.values = map[string][]byte{}
	}
	return Row{Columns: r.values, Version: r.version(), ExpiresAt: timeOf(r.expiry)}
}

func (r *rowReader) version() Version { return Version(strconv.FormatUint(r.versions, 16)) }

func cellHash(key []byte, v codec.Version) uint64 {
	var tail [16]byte
	binary.LittleEndian.PutUint64(tail[:], v.Epoch)
	binary.LittleEndian.PutUint64(tail[8:], v.LSN)
	var h xxhash.Digest
	h.Reset()
	_, _ = h.Write(key) // never fails
	_, _ = h.Write(tail[:])
	return h.Sum64()
}

func timeOf(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}
