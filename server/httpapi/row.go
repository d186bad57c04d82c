package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
)

// rowAnswer is a row's columns.
type rowAnswer struct {
	rowKeyOut
	Columns   map[string][]byte `json:"columns"`
	Found     bool              `json:"found"`
	Version   dbkernel.Version  `json:"version,omitempty"`
	ExpiresAt *time.Time        `json:"expires_at,omitempty"`
}

func outRow(key []byte, row dbkernel.Row, found bool) rowAnswer {
	if !found {
		return rowAnswer{Columns: map[string][]byte{}}
	}
	return rowAnswer{rowKeyOut: outRowKey(key), Columns: outColumns(row.Columns), Found: true,
		Version: row.Version, ExpiresAt: outTime(row.ExpiresAt)}
}

func (c *call) rowGet() error {
	columns, err := c.columnNames()
	if err != nil {
		return err
	}
	var row dbkernel.Row
	err = c.read(
		func(view *dbkernel.View) (err error) { row, err = view.GetRow(c.key, columns); return err },
		func(tx *dbkernel.Tx) (err error) { row, err = tx.GetRow(c.key, columns); return err })
	found := !errors.Is(err, dbkernel.ErrNotFound)
	if err != nil && found {
		return err
	}
	return c.json(outRow(c.key, row, found))
}

func (c *call) rowPut() error {
	var in struct {
		Columns columnsIn `json:"columns"`
	}
	return c.rowWrite(
		func() error { return c.readJSON(maxBody, &in) },
		func(ttl time.Duration) (func(writer) error, error) {
			columns, err := in.Columns.decode("", c.key)
			return func(w writer) error { return w.PutRow(c.key, columns, ttl) }, err
		})
}

func (c *call) rowDelete() error {
	return c.rowWrite(
		func() error { return nil },
		func(time.Duration) (func(writer) error, error) {
			return func(w writer) error { return w.DeleteRow(c.key) }, nil
		})
}

func (c *call) rowDeleteColumns() error {
	var names []string
	return c.rowWrite(
		func() (err error) { names, err = c.columnsToDelete(); return err },
		func(time.Duration) (func(writer) error, error) {
			return func(w writer) error { return w.DeleteColumns(c.key, names) }, checkColumns("columns", c.key, names)
		})
}

// rowWrite is what every write of one row does: its parameters, its body, its
// condition, and then the write that prepare returns.
func (c *call) rowWrite(body func() error, prepare func(ttl time.Duration) (func(writer) error, error)) error {
	if err := c.noTransaction("write in a transaction by POST /tx/{txnId}/row"); err != nil {
		return err
	}
	cond, conditional, err := c.condition()
	if err != nil {
		return err
	}
	ttl, err := c.ttl()
	if err != nil {
		return err
	}
	if err := body(); err != nil {
		return err
	}
	fill, err := prepare(ttl)
	if err != nil {
		return err
	}
	if conditional {
		return c.writeIf(cond, func(tx *dbkernel.Tx) error { return tx.CheckRow(c.key, cond) }, fill)
	}
	return c.write(fill, success{true})
}

// columnsToDelete are named by the query or by the body.
func (c *call) columnsToDelete() ([]string, error) {
	names, err := c.columnNames()
	if err != nil {
		return nil, err
	}
	if c.hasBody() {
		var in struct {
			Columns map[string]json.RawMessage `json:"columns"`
		}
		if err := c.readJSON(maxBody, &in); err != nil {
			return nil, err
		}
		if len(names) > 0 && len(in.Columns) > 0 {
			return nil, badRequest(CodeBadRequest, "columns are named in the query and in the body: name them in one place")
		}
		for name := range in.Columns {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, badRequest(CodeEmptyRequest, "columns is empty: name at least one, or delete the row by DELETE /row/{rowKey}")
	}
	return names, nil
}

// rowBatchIn is the body of POST /row/batch.
type rowBatchIn struct {
	Operation string `json:"operation"`
	Rows      []struct {
		rowKeyIn
		Columns columnsIn `json:"columns"`
	} `json:"rows"`
}

func (c *call) rowBatch() error {
	if err := c.noTransaction("write in a transaction by POST /tx/{txnId}/row"); err != nil {
		return err
	}
	var in rowBatchIn
	if err := c.readJSON(maxBody, &in); err != nil {
		return err
	}
	if in.Operation != "put" && in.Operation != "delete" {
		return unknownOperation("operation", in.Operation, `"put" or "delete"`)
	}
	if len(in.Rows) == 0 {
		return badRequest(CodeEmptyRequest, "rows is empty: send at least one")
	}
	return c.write(in.fill, successCount{true, len(in.Rows)})
}

func (in *rowBatchIn) fill(w writer) error {
	for i, row := range in.Rows {
		what := fmt.Sprintf("rows[%d].", i)
		key, err := row.decode(what)
		if err != nil {
			return err
		}
		if in.Operation == "delete" {
			if row.Columns != nil {
				return badRequest(CodeBadRequest, "%scolumns: a batch deletes whole rows; delete columns by DELETE /row/{rowKey}/columns", what)
			}
			err = w.DeleteRow(key)
		} else {
			var columns map[string][]byte
			if columns, err = row.Columns.decode(what, key); err == nil {
				err = w.PutRow(key, columns, 0)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

type rowListItem struct {
	rowKeyOut
	Columns   map[string][]byte `json:"columns"`
	Version   dbkernel.Version  `json:"version"`
	ExpiresAt *time.Time        `json:"expires_at,omitempty"`
}

func (c *call) rowList() error {
	scan, fingerprint, err := c.scan("row")
	if err != nil {
		return err
	}
	var page dbkernel.Page[dbkernel.RowItem]
	if err := c.view(func(v *dbkernel.View) (err error) { page, err = v.ScanRows(scan); return err }); err != nil {
		return err
	}
	out := struct {
		Rows   []rowListItem `json:"rows"`
		Cursor string        `json:"cursor,omitempty"`
	}{Rows: make([]rowListItem, 0, len(page.Items))}
	for _, it := range page.Items {
		out.Rows = append(out.Rows, rowListItem{outRowKey(it.Key), outColumns(it.Columns), it.Version, outTime(it.ExpiresAt)})
	}
	if page.More {
		out.Cursor = nextCursor(fingerprint, page.Last)
	}
	return c.json(out)
}
