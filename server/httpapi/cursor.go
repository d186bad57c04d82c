package httpapi

import (
	"encoding/base64"
	"encoding/binary"
	"strconv"

	"github.com/cespare/xxhash/v2"

	"github.com/unisondb/unisondb/dbkernel"
)

const (
	defaultLimit  = 100
	cursorVersion = 1
)

// scan reads the parameters of a list: bounds, page size and cursor. model
// is part of what a cursor is bound to.
func (c *call) scan(model string) (s dbkernel.Scan, fingerprint uint64, err error) {
	if err := c.noTransaction("a list reads the newest state, without txn="); err != nil {
		return s, 0, err
	}
	for name, bound := range map[string]*[]byte{"prefix": &s.Prefix, "start": &s.Start, "end": &s.End} {
		v, _ := c.param(name)
		if len(v) > dbkernel.MaxKeyLen {
			return s, 0, badRequest(CodeInvalidKey, "%s has %d bytes: a key has at most %d", name, len(v), dbkernel.MaxKeyLen)
		}
		if v != "" {
			*bound = []byte(v)
		}
	}
	if s.Reverse, err = c.flag("reverse"); err != nil {
		return s, 0, err
	}
	if s.KeysOnly, err = c.flag("keys_only"); err != nil {
		return s, 0, err
	}
	if s.Columns, err = c.columnNames(); err != nil {
		return s, 0, err
	}
	if s.Limit, err = c.limit(); err != nil {
		return s, 0, err
	}
	fingerprint = queryFingerprint(model, c.namespace, s)
	if v, _ := c.param("cursor"); v != "" {
		if s.After, err = openCursor(v, fingerprint); err != nil {
			return s, 0, err
		}
	}
	return s, fingerprint, nil
}

// limit is the size of a page. One over the maximum gets the maximum.
func (c *call) limit() (int, error) {
	v, ok := c.param("limit")
	if !ok {
		return defaultLimit, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		return 0, badRequest(CodeBadRequest, "limit=%q is not a number from 1 to %d", v, dbkernel.MaxPageItems)
	}
	return min(n, dbkernel.MaxPageItems), nil
}

// queryFingerprint stands for everything that a cursor is bound to. Only the
// size of a page may differ from page to page.
func queryFingerprint(model, namespace string, s dbkernel.Scan) uint64 {
	h := xxhash.New()
	part := func(b []byte) {
		_, _ = h.Write(binary.AppendUvarint(nil, uint64(len(b)))) // a hash never fails
		_, _ = h.Write(b)
	}
	part([]byte(model))
	part([]byte(namespace))
	part(s.Prefix)
	part(s.Start)
	part(s.End)
	part(strconv.AppendBool(nil, s.Reverse))
	part(strconv.AppendBool(nil, s.KeysOnly))
	for _, column := range s.Columns {
		part([]byte(column))
	}
	return h.Sum64()
}

// A cursor is, in base64: version (1 byte), checksum (8 bytes, of the fingerprint
// and the key), the last key of the page.

// nextCursor continues behind key.
func nextCursor(fingerprint uint64, key []byte) string {
	b := binary.BigEndian.AppendUint64([]byte{cursorVersion}, cursorSum(fingerprint, key))
	return base64.RawURLEncoding.EncodeToString(append(b, key...))
}

func openCursor(s string, fingerprint uint64) ([]byte, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) <= 9 || b[0] != cursorVersion {
		return nil, badRequest(CodeInvalidCursor, "cursor is not one that a list answered: begin again without it")
	}
	key := b[9:]
	if binary.BigEndian.Uint64(b[1:9]) != cursorSum(fingerprint, key) {
		return nil, badRequest(CodeInvalidCursor, "cursor belongs to another query: repeat the query that answered it, or begin again without a cursor")
	}
	return key, nil
}

func cursorSum(fingerprint uint64, key []byte) uint64 {
	return xxhash.Sum64(append(binary.BigEndian.AppendUint64(nil, fingerprint), key...))
}
