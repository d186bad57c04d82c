package httpapi

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/unisondb/unisondb/dbkernel"
)

// txKind is what a typed transaction is for. Its number is part of the
// transaction's public id, so that the door keeps no table of its own that would have to
// follow the kernel's.
type txKind byte

const (
	txMixed txKind = iota
	txPutKV
	txDeleteKV
	txPutRow
	txDeleteRow
	txPutObject
	txDeleteObject
	txKinds // how many there are
)

// kindOf is the kind that operation and entry type name; both are empty for mixed.
func kindOf(operation, entryType string) (txKind, error) {
	if operation == "" && entryType == "" {
		return txMixed, nil
	}
	var kind txKind
	switch entryType {
	case "kv":
		kind = txPutKV
	case "row":
		kind = txPutRow
	case "lob":
		kind = txPutObject
	default:
		return 0, unknownOperation("entryType", entryType, `"kv", "row" or "lob", or leave operation and entryType out to mix`)
	}
	switch operation {
	case "put":
		return kind, nil
	case "delete":
		return kind + 1, nil
	}
	return 0, unknownOperation("operation", operation, `"put" or "delete", or leave operation and entryType out to mix`)
}

func (k txKind) String() string {
	return [...]string{"mixed", "put kv", "delete kv", "put row", "delete row", "put lob", "delete lob"}[k]
}

// transaction finds an open transaction by its public id: the kernel's, with two
// hexadecimal digits of kind behind it.
func (c *call) transaction(id string) (*dbkernel.Tx, txKind, error) {
	cut := len(id) - 2
	var kind txKind
	if cut < 1 {
		return nil, 0, txNotFound(id)
	}
	if _, err := fmt.Sscanf(id[cut:], "%02x", &kind); err != nil || kind >= txKinds {
		return nil, 0, txNotFound(id)
	}
	tx, err := c.ns.Transaction(id[:cut])
	if errors.Is(err, dbkernel.ErrTxNotFound) {
		err = txNotFound(id)
	}
	return tx, kind, err
}

func txNotFound(id string) error {
	return &Error{Status: http.StatusNotFound, Code: CodeTxNotFound,
		Message: fmt.Sprintf("no transaction %q in this namespace: it was committed, aborted, or never begun here; begin another", id)}
}

func (c *call) txBegin() error {
	var in struct {
		Operation string `json:"operation"`
		EntryType string `json:"entryType"`
	}
	if c.hasBody() {
		if err := c.readJSON(maxSmallBody, &in); err != nil {
			return err
		}
	}
	kind, err := kindOf(in.Operation, in.EntryType)
	if err != nil {
		return err
	}
	tx, err := c.ns.Begin()
	if err != nil {
		return err
	}
	return c.json(struct {
		TxnID   string `json:"txnId"`
		Success bool   `json:"success"`
	}{fmt.Sprintf("%s%02x", tx.ID(), byte(kind)), true})
}

// txWrite finds the transaction of the path and says whether an operation of its
// kind deletes. put and del are the kinds that the route is for; a mixed transaction
// deletes where the request says so.
func (c *call) txWrite(put, del txKind, deletes bool) (tx *dbkernel.Tx, isDelete bool, err error) {
	tx, kind, err := c.transaction(c.txn)
	if err != nil {
		return nil, false, err
	}
	switch {
	case kind == txMixed:
		return tx, deletes, nil
	case kind == del:
		return tx, true, nil
	case kind == put && !deletes:
		return tx, false, nil
	}
	return nil, false, badRequest(CodeBadRequest, `the transaction was begun to %s only: begin one with {} to mix`, kind)
}

func (c *call) txKV() error {
	var in struct {
		keyIn
		Value  *string `json:"value"`
		Delete bool    `json:"delete"`
		TTL    *string `json:"ttl"`
	}
	if err := c.readJSON(maxValueBody, &in); err != nil {
		return err
	}
	key, err := in.decode("")
	if err != nil {
		return err
	}
	tx, isDelete, err := c.txWrite(txPutKV, txDeleteKV, in.Delete)
	if err != nil {
		return err
	}
	if isDelete {
		if in.Value != nil {
			return badRequest(CodeBadRequest, "value: a delete takes only a key")
		}
		return c.done(tx.Delete(key))
	}
	value, err := decodeValue("value", in.Value)
	if err != nil {
		return err
	}
	ttl, err := optionalTTL("ttl", in.TTL)
	if err != nil {
		return err
	}
	return c.done(tx.Put(key, value, ttl))
}

func (c *call) txRow() error {
	var in struct {
		rowKeyIn
		Columns columnsIn `json:"columns"`
		Delete  bool      `json:"delete"`
		TTL     *string   `json:"ttl"`
	}
	if err := c.readJSON(maxBody, &in); err != nil {
		return err
	}
	key, err := in.decode("")
	if err != nil {
		return err
	}
	tx, isDelete, err := c.txWrite(txPutRow, txDeleteRow, in.Delete)
	if err != nil {
		return err
	}
	if isDelete {
		return c.done(deleteRowOrColumns(tx, key, in.Columns, ""))
	}
	columns, err := in.Columns.decode("", key)
	if err != nil {
		return err
	}
	ttl, err := optionalTTL("ttl", in.TTL)
	if err != nil {
		return err
	}
	return c.done(tx.PutRow(key, columns, ttl))
}

// deleteRowOrColumns deletes the columns that are named, or else the whole row.
func deleteRowOrColumns(w writer, key []byte, columns columnsIn, what string) error {
	if columns == nil {
		return w.DeleteRow(key)
	}
	names := columns.names()
	if len(names) == 0 {
		return badRequest(CodeEmptyRequest, "%scolumns is empty: name at least one, or leave it out to delete the row", what)
	}
	if err := checkColumns(what+"columns", key, names); err != nil {
		return err
	}
	return w.DeleteColumns(key, names)
}

// txObject appends the body to an object of the transaction, or deletes one.
func (c *call) txObject() error {
	s, _ := c.param("key")
	key := []byte(s)
	if err := checkKey("key", key); err != nil {
		return err
	}
	deletes, err := c.flag("delete")
	if err != nil {
		return err
	}
	tx, isDelete, err := c.txWrite(txPutObject, txDeleteObject, deletes)
	if err != nil {
		return err
	}
	if isDelete {
		if c.hasBody() {
			return badRequest(CodeBadRequest, "a delete takes no body")
		}
		return c.done(tx.DeleteObject(key))
	}
	return c.done(tx.AppendObject(c.Context(), key, stream{c}))
}

// done answers a step of a transaction, which has no position before it commits.
func (c *call) done(err error) error {
	if err != nil {
		return err
	}
	return c.json(success{true})
}

func (c *call) txCommit() error {
	tx, _, err := c.transaction(c.txn)
	if err != nil {
		return err
	}
	pos, crc, err := tx.Commit(c.Context())
	if err != nil {
		return err
	}
	return c.wrote(pos, struct {
		Success  bool   `json:"success"`
		Checksum uint32 `json:"checksum"`
	}{true, crc})
}

func (c *call) txAbort() error {
	tx, _, err := c.transaction(c.txn)
	if err != nil {
		return err
	}
	return c.done(tx.Abort(c.Context()))
}
