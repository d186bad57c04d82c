package inspect

import (
	"context"
	"errors"
	"math"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
)

// Filter says what of a log is wanted.
type Filter struct {
	From, To uint64 // LSNs, both included; 0: from the beginning, to the end
	// Key leaves operations on other keys, rows and objects out, and records without any.
	// nil: everything.
	Key []byte
}

// Dump calls fn for each record of the log that the filter wants, in order, and problem
// for each damage, behind which it goes on. It answers an error where it can't go on,
// or fn's.
func (d *Directory) Dump(ctx context.Context, f Filter, fn func(Record) error, problem func(error)) error {
	m, err := d.Meta()
	if err != nil {
		return err
	}
	log, err := d.log(m.Lineage)
	if err != nil {
		return err
	}
	for _, p := range log.Problems {
		problem(p)
	}
	if f.To == 0 {
		f.To = math.MaxUint64
	}
	return log.Walk(f.From, f.To, func(chunk []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return eachRecord(chunk, func(rec codec.Record) error {
			if rec.LSN() < f.From || rec.LSN() > f.To {
				return nil
			}
			said := Describe(rec)
			if f.Key != nil && !said.keepKey(f.Key) {
				return nil
			}
			return fn(said)
		})
	}, problem)
}

// eachRecord takes a frame's records apart, which were checked.
func eachRecord(chunk []byte, fn func(codec.Record) error) error {
	for len(chunk) > 0 {
		rec, _, rest, err := codec.CutRecord(chunk)
		if err != nil {
			return errors.Join(errUnchecked, err)
		}
		if err := fn(rec); err != nil {
			return err
		}
		chunk = rest
	}
	return nil
}

var errUnchecked = errors.New("a frame whose records were good is not")

// keepKey leaves only the operations on a key, and reports whether there are any.
func (r *Record) keepKey(key []byte) bool {
	kept := r.Ops[:0]
	for _, op := range r.Ops {
		if op.Key != nil && *op.Key == string(key) || op.Key == nil && op.KeyBase64 != nil && string(op.KeyBase64) == string(key) {
			kept = append(kept, op)
		}
	}
	r.Ops = kept
	return len(kept) > 0
}
