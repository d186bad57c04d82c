package dbkernel

import (
	"bytes"
	"slices"
	"time"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
)

// Operation is what happened to a key, in the words of notifications.
type Operation string

// The operations.
const (
	ChangePut       Operation = "put"
	ChangeDelete    Operation = "delete"     // of a key or an object, or of columns of a row
	ChangeDeleteRow Operation = "delete_row" // of a whole row
	ChangeExpire    Operation = "expire"     // as ChangeDelete, because its time was over
)

// What a change's Type says of cells that are no data model's.
const (
	EntryKV     = "kv"
	EntryRow    = "row"
	EntryObject = "lob"
)

// Change is what a record did to one key, row or object. Its bytes are the run's:
// they must not be changed, and whoever keeps some of them keeps all of the run.
type Change struct {
	LSN, Epoch uint64
	Time       time.Time // of the record, by its owner's clock
	// Index is the change's place among the Count changes of its record, from 0 on.
	// Both are 0 in a ChangePage.
	Index, Count int
	Operation    Operation
	Type         string // "kv", "row", "lob" or a data model's name
	Key          []byte
	Columns      []string // of a row that were put, deleted or expired, sorted; nil for all else
	// Value is what a key or a data model's key was set to; nil for all else, and in a
	// ChangePage.
	Value []byte
}

// Version is the version that a key or an object has by the change, if it put it.
func (c Change) Version() Version { return versionOf(codec.Version{Epoch: c.Epoch, LSN: c.LSN}) }

// Changes calls fn for each change of the run's records, in order. An error of fn ends
// it and is returned. ErrDamaged where the bytes aren't what was written.
//
// A put, a delete or an expire of columns that follow each other in a record and are of
// one row is one change. A large object appears with its manifest: once, complete, and
// once more where it is replaced. A delete is told whether or not the key was there,
// since its record doesn't know. An expire is told only of what it removed: the
// committer takes none that would be void. Chunks, drops of them, cursors, marks and epochs
// are no changes, nor are kinds of cells that this build doesn't know.
func (run Run) Changes(fn func(Change) error) error {
	for _, b := range run.Records {
		for len(b) > 0 {
			rec, _, rest, err := codec.CutRecord(b)
			if err != nil {
				return asDamage(err)
			}
			if err := recordChanges(rec, fn); err != nil {
				return err
			}
			b = rest
		}
	}
	return nil
}

// recordChanges calls fn for each change of a checked record. It reads the operations
// twice, because each change says how many there are, and a record may have more
// of them than anyone wants to hold at once.
func recordChanges(rec codec.Record, fn func(Change) error) error {
	count := rec.OpCount()
	if count > 1 {
		count = 0
		err := eachChange(rec, func(codec.Op, Operation, bool) error { return nil }, func() error { count++; return nil })
		if err != nil {
			return asDamage(err)
		}
	}
	c := Change{LSN: rec.LSN(), Epoch: rec.Epoch(), Time: timeOf(rec.Time()), Count: count}
	return asDamage(eachChange(rec, c.take, func() error {
		slices.Sort(c.Columns)
		c.Columns = slices.Compact(c.Columns)
		err := fn(c)
		c.Index++
		return err
	}))
}

// eachChange calls op for each operation of a record that is part of a change, first
// saying that a change begins with it, and done at the end of each change.
func eachChange(rec codec.Record, op func(op codec.Op, operation Operation, first bool) error, done func() error) error {
	var open Operation // of the change that has begun
	var row []byte     // of the columns that it is about, as their cell keys have it
	err := rec.Ops(func(o codec.Op) error {
		operation := operationOf(o)
		if operation == "" {
			return nil
		}
		var of []byte
		if o.Key[0] == codec.TypeRow && operation != ChangeDeleteRow {
			var err error
			if of, err = codec.RowPrefixOf(o.Key); err != nil {
				return err
			}
		}
		joins := open == operation && of != nil && bytes.Equal(of, row)
		if open != "" && !joins {
			if err := done(); err != nil {
				return err
			}
		}
		open, row = operation, of
		return op(o, operation, !joins)
	})
	if err == nil && open != "" {
		err = done()
	}
	return err
}

// operationOf is what an operation of the log means to who is told of changes, empty
// where it means nothing.
func operationOf(op codec.Op) Operation {
	switch op.Kind {
	case codec.OpDeleteRow:
		return ChangeDeleteRow
	case codec.OpPut, codec.OpManifest, codec.OpDelete, codec.OpExpire:
	default:
		return ""
	}
	switch op.Key[0] {
	case codec.TypeKV, codec.TypeRow, codec.TypeManifest, codec.TypeModel:
	default:
		return ""
	}
	switch op.Kind {
	case codec.OpDelete:
		return ChangeDelete
	case codec.OpExpire:
		return ChangeExpire
	default:
		return ChangePut
	}
}

// take adds an operation to the change, which begins with the first one.
func (c *Change) take(op codec.Op, operation Operation, first bool) (err error) {
	if first {
		c.Operation, c.Key, c.Columns, c.Value = operation, op.Key[1:], nil, nil
	}
	switch {
	case op.Key[0] == codec.TypeRow, op.Kind == codec.OpDeleteRow:
		c.Type = EntryRow
		return c.takeRow(op, first)
	case op.Key[0] == codec.TypeKV:
		c.Type, c.Value = EntryKV, op.Value
	case op.Key[0] == codec.TypeManifest:
		c.Type = EntryObject
	default: // operationOf lets nothing else through
		var model []byte
		model, c.Key, err = codec.SplitModelKey(op.Key)
		if c.Type != string(model) {
			c.Type = string(model) // allocates
		}
		c.Value = op.Value
	}
	return err
}

// takeRow is take for a row or one of its columns.
func (c *Change) takeRow(op codec.Op, first bool) (err error) {
	prefix := op.Key
	if op.Kind != codec.OpDeleteRow {
		var column string
		if prefix, column, err = codec.CutColumnKey(op.Key); err != nil {
			return err
		}
		c.Columns = append(c.Columns, column)
	}
	if first {
		c.Key, err = codec.SplitRowPrefix(prefix)
	}
	return err
}
