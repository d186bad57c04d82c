package codec

import (
	"encoding/binary"
	"fmt"
)

// OpKind says what an operation does. Numbers are never reused.
type OpKind uint8

// The kinds of operations in a batch.
const (
	OpPut       OpKind = 1 // a cell gets a value
	OpDelete    OpKind = 2 // a cell goes
	OpDeleteRow OpKind = 3 // every cell of a row goes that is older than this record
	OpExpire    OpKind = 4 // a cell goes if it still has the version that is named
	OpChunk     OpKind = 5 // a piece of a large object that isn't visible yet
	OpManifest  OpKind = 6 // makes a large object visible: a put of its manifest cell
	OpDrop      OpKind = 7 // an object's chunks are no longer needed
	OpCursor    OpKind = 8 // a notifier's cursor: a put of a reserved cell
)

// Version names the record that wrote a cell.
type Version struct {
	Epoch uint64
	LSN   uint64
}

// Op is one decoded operation. Its slices point into the record.
type Op struct {
	Kind   OpKind
	Key    []byte   // the cell's key; a row's prefix for OpDeleteRow; nil for OpDrop
	Value  []byte   // OpPut, OpChunk, OpManifest, OpCursor
	Expiry int64    // nanoseconds since 1970, 0 for none: OpPut, OpManifest
	Target Version  // OpExpire
	Object ObjectID // OpChunk, OpDrop
	Chunk  uint64   // OpChunk: its number, from 0
}

const flagExpiry = 1

// Builder encodes the operations of one batch record. The zero value is ready.
type Builder struct {
	buf  []byte
	ops  int
	ttls []ttlPatch
}

// ttlPatch is an expiry that depends on the record's time, which only the
// committer knows.
type ttlPatch struct {
	off int
	ttl int64
}

// Ops is the number of operations so far.
func (b *Builder) Ops() int { return b.ops }

// Len is the length of the record so far, in bytes.
func (b *Builder) Len() int { return max(len(b.buf), RecordHeaderLen) }

// Grow makes room for n more bytes at once.
func (b *Builder) Grow(n int) {
	if b.buf == nil {
		b.buf = make([]byte, RecordHeaderLen, RecordHeaderLen+n)
	}
}

func (b *Builder) begin(k OpKind) {
	if b.buf == nil {
		b.buf = make([]byte, RecordHeaderLen, 256)
	}
	b.buf = append(b.buf, byte(k))
	b.ops++
}

func (b *Builder) bytes(p []byte) {
	b.buf = binary.AppendUvarint(b.buf, uint64(len(p)))
	b.buf = append(b.buf, p...)
}

// Expiry says when a cell dies: never (the zero value), at a fixed time, or a
// while after the record's time.
type Expiry struct {
	At  int64 // nanoseconds since 1970
	TTL int64 // nanoseconds; counts where At is 0
}

func (b *Builder) expiry(e Expiry) {
	switch {
	case e.At != 0:
		b.buf = append(b.buf, flagExpiry)
		b.buf = binary.LittleEndian.AppendUint64(b.buf, uint64(e.At))
	case e.TTL != 0:
		b.buf = append(b.buf, flagExpiry)
		b.ttls = append(b.ttls, ttlPatch{off: len(b.buf), ttl: e.TTL})
		b.buf = binary.LittleEndian.AppendUint64(b.buf, 0)
	default:
		b.buf = append(b.buf, 0)
	}
}

// Put encodes a put of a cell.
func (b *Builder) Put(key, value []byte, e Expiry) { b.put(OpPut, key, value, e) }

// PutKV encodes a put of the cell KVKey(key).
func (b *Builder) PutKV(key, value []byte, e Expiry) {
	b.begin(OpPut)
	b.expiry(e)
	b.buf = binary.AppendUvarint(b.buf, uint64(1+len(key)))
	b.buf = append(append(b.buf, TypeKV), key...)
	b.bytes(value)
}

// Manifest encodes the operation that makes a large object visible.
func (b *Builder) Manifest(key, value []byte, e Expiry) { b.put(OpManifest, key, value, e) }

// Cursor encodes a notifier's cursor.
func (b *Builder) Cursor(key, value []byte) { b.put(OpCursor, key, value, Expiry{}) }

func (b *Builder) put(k OpKind, key, value []byte, e Expiry) {
	b.begin(k)
	b.expiry(e)
	b.bytes(key)
	b.bytes(value)
}

// Delete encodes the removal of a cell.
func (b *Builder) Delete(key []byte) {
	b.begin(OpDelete)
	b.bytes(key)
}

// DeleteRow encodes the removal of a row, named by its prefix (RowPrefix).
func (b *Builder) DeleteRow(prefix []byte) {
	b.begin(OpDeleteRow)
	b.bytes(prefix)
}

// Expire encodes the removal of one version of a cell.
func (b *Builder) Expire(key []byte, target Version) {
	b.begin(OpExpire)
	b.buf = binary.LittleEndian.AppendUint64(b.buf, target.Epoch)
	b.buf = binary.LittleEndian.AppendUint64(b.buf, target.LSN)
	b.bytes(key)
}

// Chunk encodes a piece of a large object.
func (b *Builder) Chunk(id ObjectID, n uint64, data []byte) {
	b.begin(OpChunk)
	b.buf = append(b.buf, id[:]...)
	b.buf = binary.AppendUvarint(b.buf, n)
	b.bytes(data)
}

// Drop encodes the end of an object's chunks.
func (b *Builder) Drop(id ObjectID) {
	b.begin(OpDrop)
	b.buf = append(b.buf, id[:]...)
}

// Seal makes the record. The builder must not be used afterwards, except to
// seal again under another number, time or epoch after the first record was
// thrown away.
func (b *Builder) Seal(lsn, epoch uint64, at int64) Record {
	for _, p := range b.ttls {
		binary.LittleEndian.PutUint64(b.buf[p.off:], uint64(at+p.ttl))
	}
	r := Record(b.buf)
	r.seal(lsn, epoch, at, KindBatch, b.ops)
	return r
}

// Ops calls fn for each operation of a checked batch record, in order. Records
// of other kinds have none.
func (r Record) Ops(fn func(Op) error) error {
	if r.Kind() != KindBatch {
		return nil
	}
	n := int(binary.LittleEndian.Uint32(r[offOps:]))
	d := opDecoder{rest: r[RecordHeaderLen:]}
	for i := range n {
		op, err := d.next()
		if err != nil {
			return fmt.Errorf("operation %d of record LSN %d: %w", i, r.LSN(), err)
		}
		if err := fn(op); err != nil {
			return err
		}
	}
	if len(d.rest) != 0 {
		return fmt.Errorf("%w: %d bytes behind the operations of record LSN %d", ErrCorrupt, len(d.rest), r.LSN())
	}
	return nil
}

// opDecoder takes operations off a byte slice; the first error stays.
type opDecoder struct {
	rest []byte
	err  error
}

func (d *opDecoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrCorrupt, what)
	}
}

func (d *opDecoder) take(n uint64) []byte {
	if n > uint64(len(d.rest)) {
		d.fail("bytes are missing")
		return nil
	}
	p := d.rest[:n:n]
	d.rest = d.rest[n:]
	return p
}

func (d *opDecoder) u64() uint64 {
	if p := d.take(8); p != nil {
		return binary.LittleEndian.Uint64(p)
	}
	return 0
}

func (d *opDecoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.fail("a length is missing or malformed")
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *opDecoder) bytes() []byte { return d.take(d.uvarint()) }

func (d *opDecoder) key() []byte {
	k := d.bytes()
	if n := len(k); d.err == nil && (n == 0 || n > MaxCellKey) {
		d.fail(fmt.Sprintf("a cell key has %d bytes", n))
	}
	return k
}

func (d *opDecoder) object() (id ObjectID) {
	copy(id[:], d.take(uint64(len(id))))
	return id
}

func (d *opDecoder) expiry() int64 {
	p := d.take(1)
	if len(p) == 0 || p[0] == 0 {
		return 0
	}
	if p[0] != flagExpiry {
		d.fail(fmt.Sprintf("unknown flags %#x", p[0]))
	}
	return int64(d.u64())
}

func (d *opDecoder) next() (op Op, err error) {
	if p := d.take(1); p != nil {
		op.Kind = OpKind(p[0])
	}
	switch op.Kind {
	case OpPut, OpManifest, OpCursor:
		op.Expiry = d.expiry()
		op.Key = d.key()
		op.Value = d.bytes()
	case OpDelete, OpDeleteRow:
		op.Key = d.key()
	case OpExpire:
		op.Target = Version{Epoch: d.u64(), LSN: d.u64()}
		op.Key = d.key()
	case OpChunk:
		op.Object = d.object()
		op.Chunk = d.uvarint()
		op.Value = d.bytes()
		op.Key = ChunkKey(op.Object, op.Chunk)
	case OpDrop:
		op.Object = d.object()
	default:
		d.fail(fmt.Sprintf("unknown operation %d", op.Kind))
	}
	return op, d.err
}
