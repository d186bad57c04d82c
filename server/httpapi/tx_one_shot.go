package httpapi

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
)

// condIn is a condition of POST /tx: one of version, exists and value.
type condIn struct {
	keyIn
	rowKeyIn
	Version *string `json:"version"`
	Exists  *bool   `json:"exists"`
	Value   *string `json:"value"`
}

// opIn is an operation of POST /tx.
type opIn struct {
	Op   string `json:"op"`
	Type string `json:"type"`
	keyIn
	rowKeyIn
	Value   *string   `json:"value"`
	Columns columnsIn `json:"columns"`
	TTL     *string   `json:"ttl"`
}

// step is an operation that has been checked. It answers its result.
type step func(tx *dbkernel.Tx) (any, error)

// check is a condition that has been checked for form. It answers
// dbkernel.ErrConditionFailed where it doesn't hold.
type check func(tx *dbkernel.Tx) error

// txOneShot runs a whole transaction: both branches are checked before
// anything runs, so that a mistake in either changes nothing.
func (c *call) txOneShot() error {
	var in struct {
		If   []condIn `json:"if"`
		Then []opIn   `json:"then"`
		Else []opIn   `json:"else"`
	}
	if err := c.readJSON(maxBody, &in); err != nil {
		return err
	}
	if len(in.If)+len(in.Then)+len(in.Else) == 0 {
		return badRequest(CodeEmptyRequest, "the transaction is empty: give if, then or else")
	}
	checks, err := prepareAll("if", in.If, (*condIn).prepare)
	if err != nil {
		return err
	}
	then, err := prepareAll("then", in.Then, (*opIn).prepare)
	if err != nil {
		return err
	}
	otherwise, err := prepareAll("else", in.Else, (*opIn).prepare)
	if err != nil {
		return err
	}
	return c.runOneShot(checks, then, otherwise)
}

func prepareAll[In, Out any](name string, in []In, prepare func(*In, string) (Out, error)) ([]Out, error) {
	out := make([]Out, 0, len(in))
	for i := range in {
		o, err := prepare(&in[i], fmt.Sprintf("%s[%d].", name, i))
		if err != nil {
			return nil, err
		}
		out = append(out, o)
	}
	return out, nil
}

func (c *call) runOneShot(checks []check, then, otherwise []step) error {
	var answer struct {
		Succeeded bool  `json:"succeeded"`
		Results   []any `json:"results"`
	}
	pos, err := c.ns.Update(c.Context(), func(tx *dbkernel.Tx) error {
		holds, err := holdAll(tx, checks)
		if err != nil {
			return err
		}
		steps := then
		if !holds {
			steps = otherwise
		}
		// The function may run again, on a newer state.
		answer.Succeeded, answer.Results = holds, make([]any, 0, len(steps))
		size := 0
		for _, s := range steps {
			result, err := s(tx)
			if err != nil {
				return err
			}
			size += sized(result)
			if err := c.gather(size); err != nil {
				return err
			}
			answer.Results = append(answer.Results, result)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(answer.Results, isWrite) {
		c.position(pos)
		return c.json(answer)
	}
	return c.wrote(pos, answer)
}

// isWrite says that a result is that of an operation which changes something.
func isWrite(result any) bool {
	_, ok := result.(success)
	return ok
}

// holdAll evaluates every condition.
func holdAll(tx *dbkernel.Tx, checks []check) (bool, error) {
	for _, check := range checks {
		switch err := check(tx); {
		case errors.Is(err, dbkernel.ErrConditionFailed):
			return false, nil
		case err != nil:
			return false, err
		}
	}
	return true, nil
}

// sized is how long the values of a result are.
func sized(result any) int {
	switch r := result.(type) {
	case kvResult:
		return len(r.Value)
	case rowAnswer:
		n := 0
		for name, v := range r.Columns {
			n += len(name) + len(v)
		}
		return n
	}
	return 0
}

// prepare checks a condition's form.
func (in *condIn) prepare(what string) (check, error) {
	given := 0
	for _, is := range []bool{in.Version != nil, in.Exists != nil, in.Value != nil} {
		if is {
			given++
		}
	}
	if given != 1 {
		return nil, badRequest(CodeBadRequest, "%s has %d of version, exists and value: give exactly one", what[:len(what)-1], given)
	}
	key, isRow, err := modelKey(what, "", in.keyIn, in.rowKeyIn)
	if err != nil {
		return nil, err
	}
	if in.Value != nil {
		return in.prepareValue(what, key, isRow)
	}
	cond, err := in.cond(what)
	if err != nil {
		return nil, err
	}
	if isRow {
		return func(tx *dbkernel.Tx) error { return tx.CheckRow(key, cond) }, nil
	}
	return func(tx *dbkernel.Tx) error { return tx.CheckKey(key, cond) }, nil
}

func (in *condIn) cond(what string) (dbkernel.Cond, error) {
	switch {
	case in.Exists != nil && *in.Exists:
		return dbkernel.Cond{IfExists: true}, nil
	case in.Exists != nil:
		return dbkernel.Cond{IfAbsent: true}, nil
	case *in.Version == "":
		return dbkernel.Cond{}, badRequest(CodeBadRequest, `%sversion is empty: give one that a read answered, or "exists": false`, what)
	}
	return dbkernel.Cond{IfVersion: dbkernel.Version(*in.Version)}, nil
}

func (in *condIn) prepareValue(what string, key []byte, isRow bool) (check, error) {
	if isRow {
		return nil, badRequest(CodeBadRequest, "%svalue is for a key: compare a row by its version", what)
	}
	want, err := decodeValue(what+"value", in.Value)
	if err != nil {
		return nil, err
	}
	return func(tx *dbkernel.Tx) error {
		v, err := tx.Get(key)
		if errors.Is(err, dbkernel.ErrNotFound) || err == nil && !bytes.Equal(v.Data, want) {
			return dbkernel.ErrConditionFailed
		}
		return err
	}, nil
}

// modelKey is the key of a condition or an operation, and whether it is a row's.
// A type may be left out: the key's field says it.
func modelKey(what, typ string, key keyIn, row rowKeyIn) (b []byte, isRow bool, err error) {
	switch {
	case key.present() && row.present():
		return nil, false, badRequest(CodeInvalidKey, "%s has both key and rowKey: give one", what[:len(what)-1])
	case typ != "" && typ != "kv" && typ != "row":
		return nil, false, unknownOperation(what+"type", typ, `"kv" or "row"`)
	case typ == "row" || typ == "" && row.present():
		b, err = row.decode(what)
		return b, true, err
	}
	b, err = key.decode(what)
	return b, false, err
}

// prepare checks an operation's form and decodes what it carries.
func (in *opIn) prepare(what string) (step, error) {
	key, isRow, err := modelKey(what, in.Type, in.keyIn, in.rowKeyIn)
	if err != nil {
		return nil, err
	}
	ttl, err := optionalTTL(what+"ttl", in.TTL)
	if err != nil {
		return nil, err
	}
	if in.TTL != nil && in.Op != "put" {
		return nil, badRequest(CodeBadRequest, "%sttl is only for a put", what)
	}
	if isRow {
		if in.Value != nil {
			return nil, badRequest(CodeBadRequest, "%svalue is for a key: a row has columns", what)
		}
		return in.prepareRow(what, key, ttl)
	}
	if in.Columns != nil {
		return nil, badRequest(CodeBadRequest, "%scolumns are for a row: a key has a value", what)
	}
	return in.prepareKV(what, key, ttl)
}

func (in *opIn) prepareKV(what string, key []byte, ttl time.Duration) (step, error) {
	if in.Op != "put" && in.Value != nil {
		return nil, badRequest(CodeBadRequest, "%svalue is only for a put", what)
	}
	switch in.Op {
	case "put":
		value, err := decodeValue(what+"value", in.Value)
		return write(func(w writer) error { return w.Put(key, value, ttl) }), err
	case "delete":
		return write(func(w writer) error { return w.Delete(key) }), nil
	case "get":
		return func(tx *dbkernel.Tx) (any, error) {
			v, err := tx.Get(key)
			if err != nil && !errors.Is(err, dbkernel.ErrNotFound) {
				return nil, err
			}
			return kvResult{outKey(key), outValue(v, err == nil)}, nil
		}, nil
	}
	return nil, unknownOperation(what+"op", in.Op, `"put", "delete" or "get"`)
}

// kvResult is what a get of a key answers.
type kvResult = kvItem

func (in *opIn) prepareRow(what string, key []byte, ttl time.Duration) (step, error) {
	switch in.Op {
	case "put":
		columns, err := in.Columns.decode(what, key)
		return write(func(w writer) error { return w.PutRow(key, columns, ttl) }), err
	case "delete":
		return write(func(w writer) error { return deleteRowOrColumns(w, key, in.Columns, what) }), nil
	case "get":
		var names []string
		if in.Columns != nil {
			names = in.Columns.names()
		}
		if err := checkColumns(what+"columns", key, names); err != nil {
			return nil, err
		}
		return func(tx *dbkernel.Tx) (any, error) {
			row, err := tx.GetRow(key, names)
			if err != nil && !errors.Is(err, dbkernel.ErrNotFound) {
				return nil, err
			}
			return outRow(key, row, err == nil), nil
		}, nil
	}
	return nil, unknownOperation(what+"op", in.Op, `"put", "delete" or "get"`)
}

// write is a step that changes something and has nothing to tell.
func write(fill func(writer) error) step {
	return func(tx *dbkernel.Tx) (any, error) { return success{true}, fill(tx) }
}

func optionalTTL(what string, s *string) (time.Duration, error) {
	if s == nil {
		return 0, nil
	}
	return parseTTL(what, *s)
}
