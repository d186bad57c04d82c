package client

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"strings"
	"time"
)

// Rows is the wide-column model of a namespace: named columns under each row key.
type Rows struct{ c *Client }

// Row is a row, or those of its columns that were asked for.
type Row struct {
	Key     []byte
	Columns map[string][]byte
	// Version changes with every write to the row, whichever columns were asked
	// for.
	Version string
	// ExpiresAt is the earliest of the columns'; zero: never.
	ExpiresAt time.Time
	// Position is what the read saw.
	Position Position
}

// Get reads a row; columns nil means all. A missing row is [ErrNotFound].
func (r Rows) Get(ctx context.Context, key []byte, columns []string, opts ...ReadOption) (Row, error) {
	return r.get(ctx, key, columns, readOptions(opts))
}

func (r Rows) get(ctx context.Context, key []byte, columns []string, o callOptions) (Row, error) {
	if err := checkKey(key); err != nil {
		return Row{}, err
	}
	setColumns(&o, columns)
	var answer struct {
		jsonRow
		Found bool `json:"found"`
	}
	p, err := r.c.call(ctx, r.c.data(http.MethodGet, "row/"+escape(key), o).asRead(), &answer)
	if err != nil {
		return Row{}, err
	}
	if !answer.Found {
		return Row{}, &Error{Status: http.StatusNotFound, Code: codeKeyNotFound, Message: fmt.Sprintf("there is no row %q in namespace %q", key, r.c.namespace), Position: p}
	}
	row := answer.row(p)
	row.Key = key
	return row, nil
}

// Put writes columns; the row's other columns stay as they are.
func (r Rows) Put(ctx context.Context, key []byte, columns map[string][]byte, opts ...WriteOption) (Position, error) {
	if err := checkKey(key); err != nil {
		return Position{}, err
	}
	body := struct {
		Columns map[string][]byte `json:"columns"`
	}{orEmptyColumns(columns)}
	return r.c.writeJSON(ctx, r.c.data(http.MethodPut, "row/"+escape(key), writeOptions(opts)), body)
}

// Delete removes a row with all of its columns. It succeeds, too, where the row
// is absent, unless a condition says otherwise.
func (r Rows) Delete(ctx context.Context, key []byte, opts ...WriteOption) (Position, error) {
	if err := checkKey(key); err != nil {
		return Position{}, err
	}
	return r.c.write(ctx, r.c.data(http.MethodDelete, "row/"+escape(key), writeOptions(opts)))
}

// DeleteColumns removes columns of a row.
func (r Rows) DeleteColumns(ctx context.Context, key []byte, columns []string, opts ...WriteOption) (Position, error) {
	if err := checkKey(key); err != nil {
		return Position{}, err
	}
	o := writeOptions(opts)
	o.query["column"] = columns
	return r.c.write(ctx, r.c.data(http.MethodDelete, "row/"+escape(key)+"/columns", o))
}

// RowColumns is a row's key with the columns to put there.
type RowColumns struct {
	Key     []byte
	Columns map[string][]byte
}

// PutAll writes all rows at one position, or none. A value is at most 1 MiB and
// all together 32 MiB.
func (r Rows) PutAll(ctx context.Context, rows []RowColumns, opts ...WriteOption) (Position, error) {
	body := rowBatch{Operation: "put", Rows: make([]jsonRowWrite, len(rows))}
	for i, row := range rows {
		body.Rows[i] = jsonRowWrite{newJSONRowKey(row.Key), orEmptyColumns(row.Columns)}
	}
	return r.c.writeJSON(ctx, r.c.data(http.MethodPost, "row/batch", writeOptions(opts)), body)
}

// DeleteAll removes all rows at one position, or none.
func (r Rows) DeleteAll(ctx context.Context, keys [][]byte, opts ...WriteOption) (Position, error) {
	body := rowBatch{Operation: "delete", Rows: make([]jsonRowWrite, len(keys))}
	for i, key := range keys {
		body.Rows[i] = jsonRowWrite{jsonRowKey: newJSONRowKey(key)}
	}
	return r.c.writeJSON(ctx, r.c.data(http.MethodPost, "row/batch", writeOptions(opts)), body)
}

// ListPage reads one page of rows. The cursor is that of the page before, empty
// for the first one.
func (r Rows) ListPage(ctx context.Context, l ListOptions, cursor string, opts ...ReadOption) (Page[Row], error) {
	o := readOptions(opts)
	l.apply(&o, cursor)
	var answer struct {
		Rows   []jsonRow `json:"rows"`
		Cursor string    `json:"cursor"`
	}
	p, err := r.c.call(ctx, r.c.data(http.MethodGet, "row", o).asRead(), &answer)
	if err != nil {
		return Page[Row]{}, err
	}
	page := Page[Row]{Items: make([]Row, len(answer.Rows)), Cursor: answer.Cursor, Position: p}
	for i, row := range answer.Rows {
		page.Items[i] = row.row(p)
	}
	return page, nil
}

// List goes through rows, page by page as they are consumed. An error ends it.
func (r Rows) List(ctx context.Context, l ListOptions, opts ...ReadOption) iter.Seq2[Row, error] {
	return follow(ctx, l, opts, r.ListPage)
}

type rowBatch struct {
	Operation string         `json:"operation"`
	Rows      []jsonRowWrite `json:"rows"`
}

type jsonRowWrite struct {
	jsonRowKey
	Columns map[string][]byte `json:"columns,omitempty"`
}

type jsonRow struct {
	jsonRowKey
	Columns   map[string][]byte `json:"columns"`
	Version   string            `json:"version"`
	ExpiresAt time.Time         `json:"expires_at"`
}

func (r jsonRow) row(p Position) Row {
	return Row{Key: r.bytes(), Columns: r.Columns, Version: r.Version, ExpiresAt: r.ExpiresAt, Position: p}
}

// orEmptyColumns keeps JSON from turning empty values into null.
func orEmptyColumns(columns map[string][]byte) map[string][]byte {
	out := make(map[string][]byte, len(columns))
	for name, value := range columns {
		out[name] = orEmpty(value)
	}
	return out
}

// setColumns asks for columns: in one comma-separated list, or one by one where
// a name has a comma in it.
func setColumns(o *callOptions, columns []string) {
	if len(columns) == 0 {
		return
	}
	joined := strings.Join(columns, ",")
	if strings.Count(joined, ",") == len(columns)-1 {
		o.query.Set("columns", joined)
		return
	}
	o.query["column"] = columns
}
