package codec

import (
	"bytes"
	"testing"
	"unicode/utf8"
)

// sample is a record with one of each operation.
func sample() Record {
	var b Builder
	id := ObjectID{1, 2, 3}
	b.DeleteRow(RowPrefix([]byte("row")))
	b.Put(KVKey([]byte("key")), []byte("value"), Expiry{})
	b.Put(ColumnKey([]byte("row"), "column"), nil, Expiry{TTL: 5})
	b.Delete(KVKey([]byte("other")))
	b.Expire(KVKey([]byte("due")), Version{Epoch: 1, LSN: 2})
	b.Chunk(id, 0, []byte("chunk"))
	b.Manifest(ManifestKey([]byte("object")), Manifest{Object: id, Size: 5, ChunkLen: 1 << 20}.Encode(), Expiry{At: 9})
	b.Drop(id)
	b.Cursor(CursorKey("notifier"), []byte("cursor"))
	return b.Seal(7, 1<<20, 1_800_000_000_000_000_000)
}

// rebuild encodes the operations of a record again.
func rebuild(t *testing.T, r Record) Record {
	t.Helper()
	var b Builder
	err := r.Ops(func(op Op) error {
		e := Expiry{At: op.Expiry}
		switch op.Kind {
		case OpPut:
			b.Put(op.Key, op.Value, e)
		case OpManifest:
			b.Manifest(op.Key, op.Value, e)
		case OpCursor:
			b.Cursor(op.Key, op.Value)
		case OpDelete:
			b.Delete(op.Key)
		case OpDeleteRow:
			b.DeleteRow(op.Key)
		case OpExpire:
			b.Expire(op.Key, op.Target)
		case OpChunk:
			b.Chunk(op.Object, op.Chunk, op.Value)
		case OpDrop:
			b.Drop(op.Object)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.Seal(r.LSN(), r.Epoch(), r.Time())
}

// FuzzCutRecord: any bytes are a record or an error, and never a panic or a
// read beyond them.
func FuzzCutRecord(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte(sample()))
	f.Add([]byte(NewEpochRecord(1, 1<<20, 5, 99)))
	f.Add([]byte(append(NewMarkRecord(2, 1<<20, 5), sample()...)))
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, h, rest, err := CutRecord(b)
		if err != nil {
			return
		}
		if h.Length != len(rec) || len(rec)+len(rest) != len(b) || !bytes.HasPrefix(b, rec) {
			t.Fatalf("%d and %d bytes of %d, the header says %d", len(rec), len(rest), len(b), h.Length)
		}
		if rec.Kind() == KindEpoch {
			_, _ = rec.EpochBits() // an error or not, but no panic
		}
		if err := rec.Ops(func(Op) error { return nil }); err != nil || rec.Kind() != KindBatch {
			return
		}
		again := rebuild(t, rec)
		if _, err := again.Check(); err != nil {
			t.Fatalf("encoded again: %v", err)
		}
	})
}

// FuzzOps gives the decoder operations whose checksum is right.
func FuzzOps(f *testing.F) {
	f.Add([]byte(sample()[RecordHeaderLen:]), 9)
	f.Add([]byte{byte(OpPut), flagExpiry}, 1)
	f.Add([]byte{byte(OpDelete), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, 1)
	f.Fuzz(func(t *testing.T, body []byte, n int) {
		rec := append(make(Record, RecordHeaderLen), body...)
		rec.seal(1, 1<<20, 1, KindBatch, n)
		if _, err := rec.Check(); err != nil {
			t.Fatalf("a sealed record: %v", err)
		}
		ops := 0
		err := rec.Ops(func(op Op) error {
			ops++
			if op.Kind != OpDrop && (len(op.Key) == 0 || len(op.Key) > MaxCellKey) {
				t.Fatalf("%d: a key of %d bytes", op.Kind, len(op.Key))
			}
			return nil
		})
		if err != nil {
			return
		}
		if ops != rec.OpCount() {
			t.Fatalf("%d operations, the header says %d", ops, rec.OpCount())
		}
		// What can be decoded means the same when it is encoded again.
		again := rebuild(t, rec)
		if !bytes.Equal(rebuild(t, again), again) {
			t.Fatal("encoding isn't stable")
		}
	})
}

// FuzzCell: a cell that was damaged is found out.
func FuzzCell(f *testing.F) {
	f.Add([]byte("key"), []byte("value"), uint64(1<<20), uint64(3), int64(0), uint(3))
	f.Add([]byte{TypeKV}, []byte(nil), uint64(0), uint64(0), int64(-1), uint(200))
	f.Fuzz(func(t *testing.T, key, value []byte, epoch, lsn uint64, expiry int64, bit uint) {
		want := Cell{Version: Version{Epoch: epoch, LSN: lsn}, Expiry: expiry, Value: value}
		b := AppendCell(nil, key, want)
		got, err := DecodeCell(key, b)
		if err != nil || got.Version != want.Version || got.Expiry != expiry || !bytes.Equal(got.Value, value) {
			t.Fatalf("%+v became %+v, %v", want, got, err)
		}
		if _, err := DecodeCell(append([]byte("x"), key...), b); err == nil {
			t.Fatal("a cell under another key was taken")
		}
		bit %= uint(len(b)) * 8
		b[bit/8] ^= 1 << (bit % 8)
		if _, err := DecodeCell(key, b); err == nil {
			t.Fatalf("bit %d was flipped unnoticed", bit)
		}
		if _, err := DecodeCell(key, value); err == nil && len(value) < CellHeaderLen {
			t.Fatal("a cell without a header was taken")
		}
	})
}

// FuzzColumnKey: any two rows and columns keep their order and their prefixes
// when they are encoded, and come back as they were.
func FuzzColumnKey(f *testing.F) {
	f.Add([]byte("row"), "a", []byte("row\x00"), "b")
	f.Add([]byte("12345678"), "", []byte("1234567"), "\xff")
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, "c", []byte{}, "c")
	f.Fuzz(func(t *testing.T, row1 []byte, column1 string, row2 []byte, column2 string) {
		a, b := ColumnKey(row1, column1), ColumnKey(row2, column2)
		row, column, err := SplitColumnKey(a)
		if err != nil || !bytes.Equal(row, row1) || column != column1 {
			t.Fatalf("%q/%q became %q/%q, %v", row1, column1, row, column, err)
		}
		want := bytes.Compare(row1, row2)
		if want == 0 {
			want = bytes.Compare([]byte(column1), []byte(column2))
		}
		if bytes.Compare(a, b) != want {
			t.Fatalf("%q/%q and %q/%q change their order", row1, column1, row2, column2)
		}
		prefix, err := RowPrefixOf(a)
		if err != nil || !bytes.Equal(prefix, RowPrefix(row1)) {
			t.Fatalf("the row prefix of %x is %x, expected %x (%v)", a, prefix, RowPrefix(row1), err)
		}
		if same := bytes.HasPrefix(b, prefix); same != bytes.Equal(row1, row2) {
			t.Fatalf("%q has the row prefix of %q: %v", row2, row1, same)
		}
		if got, err := SplitRowPrefix(prefix); err != nil || !bytes.Equal(got, row1) {
			t.Fatalf("the row prefix of %q says %q, %v", row1, got, err)
		}
		in := bytes.HasPrefix(b, RowSearchPrefix(row1)) && bytes.Compare(b, RowPrefix(row1)) >= 0
		if in != bytes.HasPrefix(row2, row1) {
			t.Fatalf("row %q is found by the prefix %q: %v", row2, row1, in)
		}
		if len(row1)+len(column1) <= MaxKey && utf8.ValidString(column1) && len(a) > MaxCellKey {
			t.Fatalf("a cell key of %d bytes", len(a))
		}
		if end := PrefixEnd(a); end != nil && bytes.Compare(a, end) >= 0 {
			t.Fatalf("the end of %x is %x", a, end)
		}
	})
}

// FuzzDecoders: the small decoders take any bytes.
func FuzzDecoders(f *testing.F) {
	id := ObjectID{9}
	f.Add(Manifest{Object: id, Size: 1 << 40, ChunkLen: 1}.Encode())
	f.Add(ExpiryKey(5, KVKey([]byte("k"))))
	f.Add(DropKey(id))
	f.Add(ChunkKey(id, 1<<40))
	f.Add(ColumnKey([]byte("row"), "column"))
	f.Add(ModelKey("vector", []byte("key\x00")))
	f.Add(ModelKey("vector", nil))
	f.Add(ModelKey("", []byte("key")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := DecodeManifest(b); err == nil && (!bytes.Equal(m.Encode(), b) || m.ChunkLen == 0) {
			t.Fatalf("manifest %x", b)
		}
		if at, cell, err := SplitExpiryKey(b); err == nil && !bytes.Equal(ExpiryKey(at, cell), b) {
			t.Fatalf("index entry %x", b)
		}
		if id, err := SplitDropKey(b); err == nil && !bytes.Equal(DropKey(id), b) {
			t.Fatalf("note %x", b)
		}
		if id, n, err := SplitChunkKey(b); err == nil && !bytes.Equal(ChunkKey(id, n), b) {
			t.Fatalf("chunk key %x", b)
		}
		if row, column, err := SplitColumnKey(b); err == nil && !bytes.Equal(ColumnKey(row, column), b) {
			t.Fatalf("column key %x", b)
		}
		if row, err := SplitRowPrefix(b); err == nil && !bytes.Equal(RowPrefix(row), b) {
			t.Fatalf("row prefix %x", b)
		}
		if prefix, err := RowPrefixOf(b); err == nil && !bytes.HasPrefix(b, prefix) {
			t.Fatalf("row prefix of %x", b)
		}
		if prefix, column, err := CutColumnKey(b); err == nil {
			if row, err := SplitRowPrefix(prefix); err == nil && !bytes.Equal(ColumnKey(row, column), b) {
				t.Fatalf("column key %x, cut", b)
			}
		}
		if model, key, err := SplitModelKey(b); err == nil && (len(model) == 0 || len(key) == 0 || !bytes.Equal(ModelKey(string(model), key), b)) {
			t.Fatalf("model key %x", b)
		}
	})
}
