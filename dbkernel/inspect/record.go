package inspect

import (
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
)

// Record is a record of the log as a human reads it, and as a line of JSON says it.
type Record struct {
	LSN   uint64 `json:"lsn"`
	Epoch uint64 `json:"epoch"`
	Time  string `json:"time"` // RFC 3339
	Kind  string `json:"kind"` // batch, mark or epoch
	Ops   []Op   `json:"ops,omitempty"`
	// Damage says why operations are missing.
	Damage string `json:"damage,omitempty"`
}

// Op is an operation of a Record. A key that is text is in Key, another
// in KeyBase64; so is a row's.
type Op struct {
	Op        string  `json:"op"`
	Model     string  `json:"model,omitempty"` // kv, row, lob, cursor or a data model's name
	Key       *string `json:"key,omitempty"`
	KeyBase64 []byte  `json:"key_base64,omitempty"`
	Column    *string `json:"column,omitempty"`
	Value     *[]byte `json:"value_base64,omitempty"`
	ExpiresAt string  `json:"expires_at,omitempty"`
	Object    string  `json:"object,omitempty"` // hexadecimal id of a large object
	Chunk     *uint64 `json:"chunk,omitempty"`  // number of a piece of it
	Size      *uint64 `json:"size,omitempty"`   // of the whole object, bytes
	// Of an expire: the version that it removed.
	TargetEpoch uint64 `json:"target_epoch,omitempty"`
	TargetLSN   uint64 `json:"target_lsn,omitempty"`
}

// Describe says what a record says.
func Describe(rec codec.Record) Record {
	out := Record{LSN: rec.LSN(), Epoch: rec.Epoch(), Time: timestamp(rec.Time()), Kind: fmt.Sprint(rec.Kind())}
	switch rec.Kind() {
	case codec.KindBatch:
		out.Kind = "batch"
	case codec.KindMark:
		out.Kind = "mark"
	case codec.KindEpoch:
		out.Kind = "epoch"
	}
	err := rec.Ops(func(op codec.Op) error {
		out.Ops = append(out.Ops, describeOp(op))
		return nil
	})
	if err != nil {
		out.Damage = err.Error()
	}
	return out
}

func timestamp(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }

func describeOp(op codec.Op) Op {
	var out Op
	out.place(op)
	switch op.Kind {
	case codec.OpPut, codec.OpCursor:
		out.Op, out.Value = "put", &op.Value
	case codec.OpDelete:
		out.Op = "delete"
	case codec.OpDeleteRow:
		out.Op = "delete_row"
	case codec.OpExpire:
		out.Op, out.TargetEpoch, out.TargetLSN = "expire", op.Target.Epoch, op.Target.LSN
	case codec.OpChunk:
		out.Op, out.Value, out.Object, out.Chunk = "chunk", &op.Value, op.Object.String(), &op.Chunk
	case codec.OpManifest:
		out.Op = "manifest"
		if m, err := codec.DecodeManifest(op.Value); err == nil {
			out.Object, out.Size = m.Object.String(), &m.Size
		}
	case codec.OpDrop:
		out.Op, out.Model, out.Object = "drop", "lob", op.Object.String()
	}
	if op.Expiry != 0 {
		out.ExpiresAt = timestamp(op.Expiry)
	}
	return out
}

// place says which cell an operation is about.
func (o *Op) place(op codec.Op) {
	if len(op.Key) == 0 {
		return
	}
	key := op.Key[1:]
	switch op.Key[0] {
	case codec.TypeKV:
		o.Model = "kv"
	case codec.TypeManifest:
		o.Model = "lob"
	case codec.TypeCursor:
		o.Model = "cursor"
	case codec.TypeChunk:
		o.Model = "lob"
		return // its object and number say where
	case codec.TypeRow:
		o.Model = "row"
		if op.Kind == codec.OpDeleteRow {
			key, _ = codec.SplitRowPrefix(op.Key) // was checked when it was written
			break
		}
		row, column, err := codec.SplitColumnKey(op.Key)
		if err == nil {
			key = row
			o.Column = &column // always text
		}
	case codec.TypeModel:
		o.Model = "model"
		if model, own, err := codec.SplitModelKey(op.Key); err == nil {
			o.Model, key = string(model), own
		}
	default:
		o.Model, key = "unknown", op.Key
	}
	o.Key, o.KeyBase64 = text(key)
}

// text is b as a string where it is one.
func text(b []byte) (*string, []byte) {
	if !utf8.Valid(b) {
		return nil, b
	}
	s := string(b)
	return &s, nil
}
