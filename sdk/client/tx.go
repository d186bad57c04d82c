package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Tx is an interactive transaction: its reads hold at one position, its writes
// become visible together at [Tx.Commit], and at no time before. It fails with
// [ErrConflict] where something that it read has changed; then the whole
// transaction is to be run again. One without a call for 2 minutes, or open for
// 15, is [ErrGone].
//
// Values travel as JSON and are at most 1 MiB. A transaction is not for
// concurrent use.
type Tx struct {
	c    *Client
	id   string
	kind TxKind
}

// TxKind restricts a transaction to one operation on one model, for what was
// written for such transactions. The zero value mixes everything.
type TxKind struct {
	Operation string `json:"operation,omitempty"` // "put" or "delete"
	EntryType string `json:"entryType,omitempty"` // "kv", "row" or "lob"
}

// Begin opens a transaction that may mix operations and models.
func (c *Client) Begin(ctx context.Context) (*Tx, error) { return c.BeginKind(ctx, TxKind{}) }

// BeginKind opens a transaction of one kind.
func (c *Client) BeginKind(ctx context.Context, kind TxKind) (*Tx, error) {
	r, err := c.data(http.MethodPost, "tx/begin", newCallOptions()).withJSON(kind)
	if err != nil {
		return nil, err
	}
	var answer struct {
		TxnID string `json:"txnId"`
	}
	if _, err := c.call(ctx, r, &answer); err != nil {
		return nil, err
	}
	return &Tx{c: c, id: answer.TxnID, kind: kind}, nil
}

// ID is the transaction's id.
func (t *Tx) ID() string { return t.id }

func (t *Tx) request(action string, o callOptions) *request {
	return t.c.data(http.MethodPost, "tx/"+escape([]byte(t.id))+"/"+action, o)
}

func (t *Tx) post(ctx context.Context, action string, body any) error {
	_, err := t.c.writeJSON(ctx, t.request(action, newCallOptions()), body)
	return err
}

// Get reads a key: the newest state with the transaction's own writes.
func (t *Tx) Get(ctx context.Context, key []byte) (Value, error) {
	return KV{t.c}.get(ctx, key, t.reading())
}

// GetRow reads a row: the newest state with the transaction's own writes;
// columns nil means all.
func (t *Tx) GetRow(ctx context.Context, key []byte, columns []string) (Row, error) {
	return Rows{t.c}.get(ctx, key, columns, t.reading())
}

func (t *Tx) reading() callOptions {
	o := newCallOptions()
	o.query.Set("txn", t.id)
	return o
}

// Put writes a value.
func (t *Tx) Put(ctx context.Context, key, value []byte) error {
	return t.post(ctx, "kv", struct {
		jsonKey
		Value []byte `json:"value"`
	}{newJSONKey(key), orEmpty(value)})
}

// PutTTL writes a value that expires ttl after the commit.
func (t *Tx) PutTTL(ctx context.Context, key, value []byte, ttl time.Duration) error {
	return t.post(ctx, "kv", struct {
		jsonKey
		Value []byte `json:"value"`
		TTL   string `json:"ttl"`
	}{newJSONKey(key), orEmpty(value), ttl.String()})
}

// Delete removes a key.
func (t *Tx) Delete(ctx context.Context, key []byte) error {
	return t.post(ctx, "kv", struct {
		jsonKey
		Delete bool `json:"delete,omitempty"`
	}{newJSONKey(key), t.mixed()})
}

// PutRow writes columns of a row.
func (t *Tx) PutRow(ctx context.Context, key []byte, columns map[string][]byte) error {
	return t.post(ctx, "row", jsonRowWrite{newJSONRowKey(key), orEmptyColumns(columns)})
}

// PutRowTTL writes columns of a row that expire ttl after the commit.
func (t *Tx) PutRowTTL(ctx context.Context, key []byte, columns map[string][]byte, ttl time.Duration) error {
	return t.post(ctx, "row", struct {
		jsonRowWrite
		TTL string `json:"ttl"`
	}{jsonRowWrite{newJSONRowKey(key), orEmptyColumns(columns)}, ttl.String()})
}

// DeleteRow removes a row with all of its columns.
func (t *Tx) DeleteRow(ctx context.Context, key []byte) error { return t.deleteRow(ctx, key, nil) }

// DeleteColumns removes columns of a row.
func (t *Tx) DeleteColumns(ctx context.Context, key []byte, columns []string) error {
	if len(columns) == 0 {
		return fmt.Errorf("%w: no columns are named: name at least one, or delete the row", ErrInvalid)
	}
	named := make(map[string][]byte, len(columns))
	for _, column := range columns {
		named[column] = []byte{}
	}
	return t.deleteRow(ctx, key, named)
}

func (t *Tx) deleteRow(ctx context.Context, key []byte, columns map[string][]byte) error {
	return t.post(ctx, "row", struct {
		jsonRowWrite
		Delete bool `json:"delete,omitempty"`
	}{jsonRowWrite{newJSONRowKey(key), columns}, t.mixed()})
}

// mixed reports whether an operation has to say that it deletes; in a
// transaction of one kind that is known.
func (t *Tx) mixed() bool { return t.kind.Operation == "" }

// AppendObject streams bytes to the end of an object that the commit makes
// visible. Size is that of body, -1 where it is unknown.
func (t *Tx) AppendObject(ctx context.Context, key []byte, body io.Reader, size int64) error {
	if err := checkKey(key); err != nil {
		return err
	}
	o := newCallOptions()
	o.query.Set("key", string(key))
	_, err := t.c.write(ctx, t.request("lob", o).withStream(body, size))
	return err
}

// DeleteObject removes an object.
func (t *Tx) DeleteObject(ctx context.Context, key []byte) error {
	if err := checkKey(key); err != nil {
		return err
	}
	o := newCallOptions()
	o.query.Set("key", string(key))
	if t.mixed() {
		o.query.Set("delete", "true")
	}
	_, err := t.c.write(ctx, t.request("lob", o))
	return err
}

// Committed is what a node says of a transaction that it has committed.
type Committed struct {
	Position Position
	CRC32    uint32 // IEEE, of the bytes of the last object; 0 without one
}

// Commit makes all writes visible at one position.
func (t *Tx) Commit(ctx context.Context, opts ...WriteOption) (Committed, error) {
	var answer struct {
		Checksum uint32 `json:"checksum"`
	}
	p, err := t.c.call(ctx, t.request("commit", writeOptions(opts)), &answer)
	if err != nil {
		return Committed{}, err
	}
	return Committed{Position: p, CRC32: answer.Checksum}, nil
}

// Abort drops the transaction.
func (t *Tx) Abort(ctx context.Context) error {
	_, err := t.c.write(ctx, t.request("abort", newCallOptions()))
	return err
}
