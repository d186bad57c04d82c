package dbkernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// generator makes the list of operations of a seed. It runs the model along, so
// that each step carries what it must answer.
type generator struct {
	rng   *rand.Rand
	start time.Time
	m     *model
	steps []step
	ids   int

	txs     map[int]*modelTx
	readers map[int]*openReader
}

// openReader is an object reader that was left open, with what it reads.
type openReader struct {
	key  string
	data []byte
}

func newGenerator(seed uint64) *generator {
	start := time.Unix(1_800_000_000, 0)
	return &generator{
		rng: rand.New(rand.NewPCG(seed, 1)), start: start, m: newModel(start),
		txs: map[int]*modelTx{}, readers: map[int]*openReader{},
	}
}

func (g *generator) add(name string, run func(e *env)) {
	g.steps = append(g.steps, step{name: name, quiet: len(g.txs) == 0 && len(g.readers) == 0, run: run})
}

// next adds one operation.
func (g *generator) next() {
	kinds := []struct {
		weight int
		make   func()
	}{
		{16, g.batch}, {8, g.get}, {8, g.getRow}, {8, g.scan}, {10, g.update}, {4, g.touch}, {6, g.putObject},
		{3, g.deleteObject}, {5, g.readObject}, {3, g.openReader}, {4, g.useReader}, {3, g.begin}, {10, g.useTx},
		{4, g.endTx}, {6, g.advance}, {1, g.flush}, {1, g.restart}, {2, g.expire}, {2, g.checkAll},
		{6, g.copy}, {4, g.getOwn},
	}
	total := 0
	for _, k := range kinds {
		total += k.weight
	}
	pick := g.rng.IntN(total)
	for _, k := range kinds {
		if pick -= k.weight; pick < 0 {
			k.make()
			return
		}
	}
}

// finish closes what is open and compares everything: as it is, flushed, and
// after a restart.
func (g *generator) finish() {
	for _, id := range slices.Sorted(maps.Keys(g.txs)) {
		g.end(id, false)
	}
	for _, id := range slices.Sorted(maps.Keys(g.readers)) {
		g.closeReader(id)
	}
	g.checkAll()
	g.flush()
	g.checkAll()
	g.restart()
	g.checkAll()
}

// Keys meet each other: they are few, share prefixes, end in the bytes that
// bounds stumble over, and are as long as a group of the row encoding or not.
var modelKeys = func() []string {
	keys := []string{
		"a", "a\x00", "a\x00\x00", "a\xff", "a\xff\xff", "b", "\x00", "\xff", "\xff\xff\xff",
		"group-08", "group-08\x00", "group-089", "group-0", "group-0\xff", "group-08group-16", "group-08group-16x",
		strings.Repeat("k", 350), strings.Repeat("k", 349) + "\xff",
	}
	for i := range 14 {
		keys = append(keys, fmt.Sprintf("user:%03d", i))
	}
	return keys
}()

var modelColumns = []string{"a", "ab", "name", "column08", "column08x", "é"}

func (g *generator) key() string    { return modelKeys[g.rng.IntN(len(modelKeys))] }
func (g *generator) row() string    { return modelKeys[g.rng.IntN(12)] }
func (g *generator) object() string { return modelKeys[g.rng.IntN(6)] }
func (g *generator) column() string { return modelColumns[g.rng.IntN(len(modelColumns))] }

// dataModels have names that begin alike.
var dataModels = []string{"vector", "vector-2"}

func (g *generator) dataModel() string { return dataModels[g.rng.IntN(len(dataModels))] }

func (g *generator) one(n int) bool { return g.rng.IntN(n) == 0 }

func (g *generator) value() []byte {
	n := g.rng.IntN(60)
	if g.one(6) {
		n = g.rng.IntN(12 << 10)
	}
	return g.bytes(n)
}

// bytes are random, but cheap where there are many.
func (g *generator) bytes(n int) []byte {
	b := make([]byte, n)
	pattern := make([]byte, min(n, 257))
	for i := range pattern {
		pattern[i] = byte(g.rng.Uint32())
	}
	for i := 0; i < n; {
		i += copy(b[i:], pattern)
	}
	return b
}

func (g *generator) objectBytes() []byte {
	switch {
	case g.one(12):
		return g.bytes(MaxChunkLen + g.rng.IntN(MaxChunkLen+2))
	case g.one(20):
		return g.bytes(MaxChunkLen)
	case g.one(3):
		return g.bytes(g.rng.IntN(60 << 10))
	default:
		return g.bytes(g.rng.IntN(500))
	}
}

func (g *generator) ttl() time.Duration {
	if !g.one(4) {
		return 0
	}
	return time.Duration(1+g.rng.IntN(3000)) * time.Millisecond
}

// edit is a random edit of a key or row.
func (g *generator) edit() edit {
	switch g.rng.IntN(10) {
	case 0, 1, 2, 3:
		return edit{kind: editPut, key: g.key(), value: g.value(), ttl: g.ttl()}
	case 4:
		return edit{kind: editDelete, key: g.key()}
	case 5, 6, 7:
		return edit{kind: editPutColumn, key: g.row(), column: g.column(), value: g.value(), ttl: g.ttl()}
	case 8:
		return edit{kind: editDeleteColumn, key: g.row(), column: g.column()}
	default:
		return edit{kind: editDeleteRow, key: g.row()}
	}
}

// txEdit is one that a transaction can make: of a data model's key, too.
func (g *generator) txEdit() edit {
	switch g.rng.IntN(12) {
	case 0, 1:
		return edit{kind: editPutModel, key: g.key(), column: g.dataModel(), value: g.value()}
	case 2:
		return edit{kind: editDeleteModel, key: g.key(), column: g.dataModel()}
	default:
		return g.edit()
	}
}

// edits are some for one batch. A batch's own puts outlive its row deletes
// wherever they stand, so those come first.
func (g *generator) edits() []edit {
	n := 1
	if g.one(3) {
		n += g.rng.IntN(8)
	}
	edits := make([]edit, n)
	for i := range edits {
		edits[i] = g.edit()
	}
	slices.SortStableFunc(edits, func(a, b edit) int {
		return boolInt(b.kind == editDeleteRow) - boolInt(a.kind == editDeleteRow)
	})
	return edits
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (g *generator) batch() {
	edits := g.edits()
	g.m.apply(edits)
	g.add(fmt.Sprintf("batch %v", edits), func(e *env) { e.batch(edits) })
}

func (g *generator) get() {
	key := g.key()
	want := g.m.get(key)
	_, stored := g.m.kv[key]
	hidden := stored && want.version == ""
	g.add(fmt.Sprintf("get %q", key), func(e *env) {
		e.view(func(v *View) {
			got, err := v.Get([]byte(key))
			e.checkValue(key, got, err, want)
		})
		got, _, err := e.reading().Get([]byte(key))
		e.checkValue(key, got, err, want)
		if hidden {
			e.seen.hiddenReads.Add(1)
		}
	})
}

func (g *generator) getOwn() {
	name, key := g.dataModel(), g.key()
	want := g.m.ownKey(name, key)
	g.add(fmt.Sprintf("get %q of model %s", key, name), func(e *env) {
		e.view(func(v *View) {
			got, err := v.GetModel(name, []byte(key))
			e.checkValue(ownCell(name, key), got, err, want)
		})
	})
}

func (g *generator) getRow() {
	key := g.row()
	var columns []string
	if g.one(3) {
		columns = []string{g.column(), g.column()}
	}
	want := g.m.row(key, columns)
	g.add(fmt.Sprintf("get row %q %v", key, columns), func(e *env) {
		e.view(func(v *View) {
			got, err := v.GetRow([]byte(key), columns)
			e.checkRow(key, got, err, want)
		})
	})
}

func (g *generator) scan() {
	s := Scan{Reverse: g.one(2)}
	bound := func(p *[]byte, n int) {
		if g.one(n) {
			*p = []byte(g.key())
		}
	}
	bound(&s.Start, 3)
	bound(&s.End, 3)
	bound(&s.After, 3)
	if g.one(3) {
		k := g.key()
		s.Prefix = []byte(k[:g.rng.IntN(len(k)+1)])
	}
	if g.one(2) {
		s.Limit = 1 + g.rng.IntN(8)
	}
	m := g.m.clone()
	switch g.rng.IntN(4) {
	case 3:
		name := g.dataModel()
		g.add(fmt.Sprintf("scan model %s %+v", name, s), func(e *env) { e.view(func(v *View) { e.scanOwn(v, m, name, s) }) })
	case 0:
		s.KeysOnly = g.one(3)
		g.add(fmt.Sprintf("scan %+v", s), func(e *env) { e.view(func(v *View) { e.scanKV(v, m, s) }) })
	case 1:
		if g.one(3) {
			s.Columns = []string{g.column(), g.column()}
		}
		g.add(fmt.Sprintf("scan rows %+v", s), func(e *env) { e.view(func(v *View) { e.scanRows(v, m, s) }) })
	default:
		g.add(fmt.Sprintf("scan objects %+v", s), func(e *env) { e.view(func(v *View) { e.scanObjects(v, m, s) }) })
	}
}

func (g *generator) checkAll() {
	m := g.m.clone()
	g.add("check all", func(e *env) { e.checkAll(m) })
}

// cond is a random condition on something that has the version, and whether it holds.
func (g *generator) cond(version string) (name string, holds bool) {
	switch g.rng.IntN(4) {
	case 0:
		return "exists", version != ""
	case 1:
		return "absent", version == ""
	case 2:
		return "stale version", false
	default:
		return "version", version != ""
	}
}

// condition makes the condition by its name; now is the version that the thing has.
func condition(name string, now Version) Cond {
	switch name {
	case "exists":
		return Cond{IfExists: true}
	case "absent":
		return Cond{IfAbsent: true}
	case "version":
		if now != "" {
			return Cond{IfVersion: now}
		}
	}
	return Cond{IfVersion: "0-0"}
}

// update is an Update with a condition and a few edits.
func (g *generator) update() {
	var edits []edit
	for range 1 + g.rng.IntN(4) {
		edits = append(edits, g.txEdit())
	}
	key, onRow := g.key(), g.one(3)
	version := g.m.get(key).version
	if onRow {
		key = g.row()
		version = g.m.row(key, nil).version
	}
	name, holds := g.cond(version)
	unconditional := g.one(3)
	if unconditional || holds {
		g.m.apply(g.order(edits))
	}
	g.add(fmt.Sprintf("update if %q (row %v) %s (none %v): %v", key, onRow, name, unconditional, edits), func(e *env) {
		var now Version
		pos, err := e.ns.Update(context.Background(), func(tx *Tx) error {
			var err error
			if now, err = e.versionIn(tx, key, onRow); err != nil {
				return err
			}
			if !unconditional {
				check := tx.CheckKey
				if onRow {
					check = tx.CheckRow
				}
				if err := check([]byte(key), condition(name, now)); err != nil {
					return err
				}
			}
			for _, d := range edits {
				if err := txWriteEdit(context.Background(), tx, d); err != nil {
					return err
				}
			}
			return nil
		})
		if !unconditional && !holds {
			e.seen.failedConds.Add(1)
			if !errors.Is(err, ErrConditionFailed) {
				e.fatalf("%v, expected that the condition fails", err)
			}
			return
		}
		e.check(err)
		e.wrote(pos)
	})
}

// versionIn reads a version inside a transaction, empty where there is nothing.
func (e *env) versionIn(tx *Tx, key string, row bool) (Version, error) {
	if row {
		r, err := tx.GetRow([]byte(key), nil)
		if errors.Is(err, ErrNotFound) {
			err = nil
		}
		return r.Version, err
	}
	v, err := tx.Get([]byte(key))
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return v.Version, err
}

// order is what the edits of a transaction amount to: a delete of a row takes
// the transaction's own earlier writes to it along.
func (g *generator) order(edits []edit) []edit {
	t := g.m.begin()
	for _, d := range edits {
		t.write(d)
	}
	return t.writes
}

func (g *generator) touch() {
	key, ttl := g.key(), g.ttl()
	want := g.m.get(key)
	if want.version != "" {
		g.m.apply([]edit{{kind: editPut, key: key, value: want.value, ttl: ttl}})
	}
	g.add(fmt.Sprintf("touch %q %v", key, ttl), func(e *env) {
		_, err := e.ns.Update(context.Background(), func(tx *Tx) error { return tx.Touch([]byte(key), ttl) })
		if want.version == "" {
			if !errors.Is(err, ErrNotFound) {
				e.fatalf("touching what isn't there: %v", err)
			}
			return
		}
		e.check(err)
	})
}

func (g *generator) putObject() {
	key, data, ttl := g.object(), g.objectBytes(), g.ttl()
	version := g.m.object(key).version
	name, holds := "", true
	if g.one(3) {
		name, holds = g.cond(version)
	}
	if holds {
		g.m.apply([]edit{{kind: editPutObject, key: key, value: data, ttl: ttl}})
	}
	replaced := holds && slices.ContainsFunc(slices.Collect(maps.Values(g.readers)), func(r *openReader) bool { return r.key == key })
	want := g.m.object(key)
	g.add(fmt.Sprintf("put object %q %d bytes %v if %q", key, len(data), ttl, name), func(e *env) {
		c := Cond{}
		if name != "" {
			var now Version
			e.view(func(v *View) {
				if o, err := v.StatObject([]byte(key)); err == nil {
					now = o.Version
				}
			})
			c = condition(name, now)
		}
		o, pos, err := e.ns.PutObject(context.Background(), []byte(key), bytes.NewReader(data), ttl, c)
		if !holds {
			e.seen.failedConds.Add(1)
			if !errors.Is(err, ErrConditionFailed) {
				e.fatalf("%v, expected that the condition fails", err)
			}
			return
		}
		e.check(err)
		e.wrote(pos)
		if o.Size != int64(len(data)) || o.CRC32 != crc32.ChecksumIEEE(data) {
			e.fatalf("wrote %d bytes, CRC %08x", o.Size, o.CRC32)
		}
		e.checkVersion("object "+key, o.Version, want.version)
		if replaced {
			e.seen.droppedWhileRead.Add(1)
		}
	})
}

func (g *generator) deleteObject() {
	key := g.object()
	g.m.apply([]edit{{kind: editDeleteObject, key: key}})
	g.add(fmt.Sprintf("delete object %q", key), func(e *env) {
		_, err := e.ns.Update(context.Background(), func(tx *Tx) error { return tx.DeleteObject([]byte(key)) })
		e.check(err)
	})
}

// span is a random part of an object, often across a chunk's end or beyond the
// object's.
func (g *generator) span(size int) (off, n int) {
	switch {
	case size > MaxChunkLen && g.one(2):
		return MaxChunkLen - 1 - g.rng.IntN(50), 2 + g.rng.IntN(200)
	case g.one(4):
		return 0, size + 1
	default:
		return g.rng.IntN(size + 2), g.rng.IntN(4000)
	}
}

func (g *generator) readObject() {
	key := g.object()
	want := g.m.object(key)
	off, n := g.span(len(want.value))
	seek := g.one(2)
	g.add(fmt.Sprintf("read object %q, %d bytes at %d", key, n, off), func(e *env) {
		r, err := e.reading().OpenObject([]byte(key))
		var o Object
		if err == nil {
			o = r.Object()
		}
		e.checkObject(o, err, key, want)
		if err == nil {
			e.readRange(r, want.value, off, n, seek)
			e.check(r.Close())
		}
	})
}

// openReader opens an object and leaves it open.
func (g *generator) openReader() {
	key := g.object()
	want := g.m.object(key)
	if want.version == "" || len(g.readers) > 2 {
		return
	}
	g.ids++
	id := g.ids
	g.readers[id] = &openReader{key: key, data: want.value}
	g.add(fmt.Sprintf("open reader %d on object %q", id, key), func(e *env) {
		r, err := e.reading().OpenObject([]byte(key))
		e.check(err)
		e.readers[id] = r
	})
}

// anyOf picks one of the open things, the same for the same seed.
func anyOf[T any](g *generator, open map[int]T) int {
	ids := slices.Sorted(maps.Keys(open))
	return ids[g.rng.IntN(len(ids))]
}

func (g *generator) useReader() {
	if len(g.readers) == 0 {
		return
	}
	id := anyOf(g, g.readers)
	if g.one(3) {
		g.closeReader(id)
		return
	}
	data := g.readers[id].data
	off, n := g.span(len(data))
	seek := g.one(2)
	g.add(fmt.Sprintf("reader %d reads %d bytes at %d", id, n, off), func(e *env) {
		e.readRange(e.readers[id], data, off, n, seek)
	})
}

func (g *generator) closeReader(id int) {
	data := g.readers[id].data
	delete(g.readers, id)
	g.add(fmt.Sprintf("close reader %d", id), func(e *env) {
		e.readRange(e.readers[id], data, 0, len(data), false)
		e.check(e.readers[id].Close())
		delete(e.readers, id)
	})
}

func (g *generator) begin() {
	if len(g.txs) > 2 {
		return
	}
	g.ids++
	id := g.ids
	g.txs[id] = g.m.begin()
	g.add(fmt.Sprintf("begin %d", id), func(e *env) {
		tx, err := e.ns.Begin()
		e.check(err)
		e.txs[id] = tx
	})
}

// tx finds an open transaction by its id, as a request would.
func (e *env) tx(id int) *Tx {
	e.t.Helper()
	tx, err := e.ns.Transaction(e.txs[id].ID())
	e.check(err)
	return tx
}

func (g *generator) useTx() {
	if len(g.txs) == 0 {
		return
	}
	id := anyOf(g, g.txs)
	t := g.txs[id]
	switch g.rng.IntN(7) {
	case 6:
		g.txGetOwn(id, t)
	case 0, 1:
		g.txGet(id, t)
	case 2:
		g.txGetRow(id, t)
	case 3:
		g.txStat(id, t)
	default:
		g.txWrite(id, t)
	}
}

// checkRead checks a transaction's read where it must conflict, and says
// whether it must not.
func (e *env) checkRead(err error, conflict bool) bool {
	e.t.Helper()
	if conflict != errors.Is(err, ErrConflict) {
		e.fatalf("the read answers %v; expected a conflict: %v", err, conflict)
	}
	return !conflict
}

func (g *generator) txGet(id int, t *modelTx) {
	key := g.key()
	want, conflict := t.get(key)
	g.add(fmt.Sprintf("tx %d gets %q", id, key), func(e *env) {
		got, err := e.tx(id).Get([]byte(key))
		if !e.checkRead(err, conflict) {
			return
		}
		if want.version == "own" {
			e.check(err)
			if !bytes.Equal(got.Data, want.value) {
				e.fatalf("its own write is %q, expected %q", got.Data, want.value)
			}
			return
		}
		e.checkValue(key, got, err, want)
	})
}

// txGetOwn reads a data model's key in a transaction. What it has read it may expect:
// that is so, or there is a conflict.
func (g *generator) txGetOwn(id int, t *modelTx) {
	name, key := g.dataModel(), g.key()
	want, conflict := t.ownKey(name, key)
	g.add(fmt.Sprintf("tx %d gets %q of model %s", id, key, name), func(e *env) {
		got, err := e.tx(id).GetModel(name, []byte(key))
		if !e.checkRead(err, conflict) {
			return
		}
		if want.version == "own" {
			e.check(err)
			if !bytes.Equal(got.Data, want.value) {
				e.fatalf("its own write is %q, expected %q", got.Data, want.value)
			}
			return
		}
		e.checkValue(ownCell(name, key), got, err, want)
		e.check(e.tx(id).ExpectModel(name, []byte(key), got.Version))
	})
}

func (g *generator) txGetRow(id int, t *modelTx) {
	key := g.row()
	want, conflict := t.row(key)
	g.add(fmt.Sprintf("tx %d gets row %q", id, key), func(e *env) {
		got, err := e.tx(id).GetRow([]byte(key), nil)
		if !e.checkRead(err, conflict) {
			return
		}
		if errors.Is(err, ErrNotFound) {
			err = nil
		}
		e.check(err)
		e.checkColumns(key, got.Columns, want)
	})
}

func (g *generator) txStat(id int, t *modelTx) {
	key := g.object()
	want, conflict := t.stat(key)
	g.add(fmt.Sprintf("tx %d stats object %q", id, key), func(e *env) {
		got, err := e.tx(id).StatObject([]byte(key))
		if !e.checkRead(err, conflict) {
			return
		}
		if want.version == "own" {
			e.check(err)
			if got.Size != int64(len(want.value)) || got.CRC32 != crc32.ChecksumIEEE(want.value) {
				e.fatalf("its own object has %d bytes, expected %d", got.Size, len(want.value))
			}
			return
		}
		e.checkObject(got, err, key, want)
	})
}

func (g *generator) txWrite(id int, t *modelTx) {
	d := g.txEdit()
	if g.one(5) {
		d = edit{kind: editPutObject, key: g.object(), value: g.objectBytes()}
	} else if g.one(8) {
		d = edit{kind: editDeleteObject, key: g.object()}
		if _, written := t.object[d.key]; written {
			return
		}
	}
	t.write(d)
	g.add(fmt.Sprintf("tx %d: %v", id, d), func(e *env) {
		e.check(txWriteEdit(context.Background(), e.tx(id), d))
	})
}

func (g *generator) endTx() {
	if len(g.txs) > 0 {
		g.end(anyOf(g, g.txs), !g.one(4))
	}
}

// end commits or aborts a transaction.
func (g *generator) end(id int, commit bool) {
	t := g.txs[id]
	delete(g.txs, id)
	if !commit {
		g.add(fmt.Sprintf("abort %d", id), func(e *env) {
			tx := e.tx(id)
			e.check(tx.Abort(context.Background()))
			e.ended(tx)
		})
		return
	}
	conflict := t.conflicts()
	if !conflict && len(t.writes) > 0 {
		g.m.apply(t.writes)
	}
	var crc uint32
	for _, d := range t.writes {
		if d.kind == editPutObject {
			crc = crc32.ChecksumIEEE(t.object[d.key])
		}
	}
	g.add(fmt.Sprintf("commit %d: %v", id, t.writes), func(e *env) {
		tx := e.tx(id)
		_, got, err := tx.Commit(context.Background())
		e.ended(tx)
		if conflict {
			e.seen.conflicts.Add(1)
			if !errors.Is(err, ErrConflict) {
				e.fatalf("%v, expected a conflict", err)
			}
			return
		}
		e.check(err)
		if got != crc {
			e.fatalf("the object's CRC is %08x, expected %08x", got, crc)
		}
	})
}

// ended checks that a transaction is gone.
func (e *env) ended(tx *Tx) {
	e.t.Helper()
	if _, err := e.ns.Transaction(tx.ID()); !errors.Is(err, ErrTxNotFound) {
		e.fatalf("an ended transaction is still known: %v", err)
	}
	if err := tx.Put([]byte("k"), nil, 0); !errors.Is(err, ErrTxNotFound) {
		e.fatalf("an ended transaction takes a write: %v", err)
	}
}

// advance turns the clock forward. Transactions that read something that may
// expire end first: whether they notice depends on what else is committed.
func (g *generator) advance() {
	for _, id := range slices.Sorted(maps.Keys(g.txs)) {
		if g.txs[id].clocked() {
			g.end(id, g.one(2))
		}
	}
	d := time.Duration(g.rng.IntN(800)) * time.Millisecond
	g.m.now = g.m.now.Add(d)
	g.add(fmt.Sprintf("advance %v", d), func(e *env) { e.clock.Advance(d) })
}

func (g *generator) flush() { g.add("flush", func(e *env) { e.flush() }) }

// restart closes and opens everything, where nothing is open that would not
// outlive it.
func (g *generator) restart() {
	if len(g.txs) == 0 && len(g.readers) == 0 {
		g.add("restart", func(e *env) { e.restart() })
	}
}

// copy goes on with a copy through a stage.
func (g *generator) copy() {
	if g.one(12) {
		g.add("restart the copy", func(e *env) { e.restartCopy() })
		return
	}
	steps := 1 + g.rng.IntN(4)
	g.add(fmt.Sprintf("copy %d steps", steps), func(e *env) { e.copy(steps) })
}

// expire does what housekeeping does with what is due.
func (g *generator) expire() {
	g.add("expire", func(e *env) { e.ns.expireDue(context.Background(), e.clock.Now().UnixNano()) })
}
