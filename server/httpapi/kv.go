package httpapi

import (
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
)

// kvAnswer is a key's value.
type kvAnswer struct {
	Value     []byte           `json:"value"`
	Found     bool             `json:"found"`
	Version   dbkernel.Version `json:"version,omitempty"`
	ExpiresAt *time.Time       `json:"expires_at,omitempty"`
}

func outValue(v dbkernel.Value, found bool) kvAnswer {
	if !found {
		return kvAnswer{Value: []byte{}}
	}
	return kvAnswer{Value: outBytes(v.Data), Found: true, Version: v.Version, ExpiresAt: outTime(v.ExpiresAt)}
}

func (c *call) kvGet() error {
	raw, err := c.wantsBytes()
	if err != nil {
		return err
	}
	v, err := c.getKey()
	found := !errors.Is(err, dbkernel.ErrNotFound)
	if err != nil && found {
		return err
	}
	if raw {
		return c.answerBytes(v, found)
	}
	return c.json(outValue(v, found))
}

// getKey reads the key, in the transaction that txn= names if there is one.
func (c *call) getKey() (v dbkernel.Value, err error) {
	if _, ok := c.param("txn"); ok {
		err = c.read(nil, func(tx *dbkernel.Tx) (err error) { v, err = tx.Get(c.key); return err })
		return v, err
	}
	var p dbkernel.Position
	err = c.onCurrent(func() (err error) { v, p, err = c.ns.Get(c.key); return err })
	if err == nil || errors.Is(err, dbkernel.ErrNotFound) {
		c.position(p)
	}
	return v, err
}

// read runs one of two reads: on a view of the newest state, or in the
// transaction that txn= names.
func (c *call) read(onView func(*dbkernel.View) error, inTx func(*dbkernel.Tx) error) error {
	id, ok := c.param("txn")
	if !ok {
		return c.view(onView)
	}
	tx, _, err := c.transaction(id)
	if err != nil {
		return err
	}
	err = inTx(tx)
	if err == nil || errors.Is(err, dbkernel.ErrNotFound) {
		c.position(tx.Position())
	}
	return err
}

// answerBytes answers a value itself.
func (c *call) answerBytes(v dbkernel.Value, found bool) error {
	if !found {
		return &Error{Status: http.StatusNotFound, Code: CodeKeyNotFound, Message: "no such key: it was never written, deleted, or has expired"}
	}
	h := c.w.Header()
	h.Set("ETag", etag(v.Version))
	if !v.ExpiresAt.IsZero() {
		h.Set(HeaderExpiresAt, v.ExpiresAt.UTC().Format(time.RFC3339Nano))
	}
	if noneMatch(c.Header.Get("If-None-Match"), v.Version) {
		c.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Length", strconv.Itoa(len(v.Data)))
	c.w.WriteHeader(http.StatusOK)
	if c.Method != http.MethodHead {
		_, _ = c.w.Write(v.Data) // a client that has gone away needs no answer
	}
	return nil
}

// noneMatch says that If-None-Match of a read names the version, so that the client has it.
func noneMatch(header string, v dbkernel.Version) bool {
	for tag := range strings.SplitSeq(header, ",") {
		tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
		if tag == "*" || tag == etag(v) {
			return true
		}
	}
	return false
}

// wantsBytes says that the client asked for the value itself: by raw=true, or
// by an Accept header that names bytes and not JSON.
func (c *call) wantsBytes() (bool, error) {
	if _, ok := c.param("raw"); ok {
		return c.flag("raw")
	}
	raw := false
	for part := range strings.SplitSeq(strings.Join(c.Header.Values("Accept"), ","), ",") {
		switch t, _, err := mime.ParseMediaType(part); {
		case err != nil:
		case t == "application/json":
			return false, nil
		case t == "application/octet-stream":
			raw = true
		}
	}
	return raw, nil
}

func (c *call) kvPut() error {
	if err := c.noTransaction("write in a transaction by POST /tx/{txnId}/kv"); err != nil {
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
	value, err := c.putValue()
	if err != nil {
		return err
	}
	put := func(w writer) error { return w.Put(c.key, value, ttl) }
	if conditional {
		return c.writeIf(cond, func(tx *dbkernel.Tx) error { return tx.CheckKey(c.key, cond) }, put)
	}
	return c.write(put, success{true})
}

// putValue is the value in the body, in either form.
func (c *call) putValue() ([]byte, error) {
	if c.isBytes() {
		return c.rawValue()
	}
	var in struct {
		Value *string `json:"value"`
	}
	if err := c.readJSON(maxValueBody, &in); err != nil {
		return nil, err
	}
	return decodeValue("value", in.Value)
}

func (c *call) kvDelete() error {
	if err := c.noTransaction("delete in a transaction by POST /tx/{txnId}/kv"); err != nil {
		return err
	}
	cond, conditional, err := c.condition()
	if err != nil {
		return err
	}
	del := func(w writer) error { return w.Delete(c.key) }
	if conditional {
		return c.writeIf(cond, func(tx *dbkernel.Tx) error { return tx.CheckKey(c.key, cond) }, del)
	}
	return c.write(del, success{true})
}

// kvTouch gives a key a new expiry. ttl=0s takes the expiry away.
func (c *call) kvTouch() error {
	if err := c.noTransaction("touch has no place in a transaction"); err != nil {
		return err
	}
	s, ok := c.param("ttl")
	if !ok {
		return badRequest(CodeBadRequest, "ttl is missing: say how long the key lives from now on, as in ?ttl=30s; 0s is for good")
	}
	ttl, err := parseDuration("ttl", s)
	if err != nil {
		return err
	}
	if ttl < 0 {
		return badRequest(CodeBadRequest, "ttl=%s is in the past: delete the key instead", s)
	}
	pos, err := c.update(func(tx *dbkernel.Tx) error { return tx.Touch(c.key, ttl) })
	if errors.Is(err, dbkernel.ErrNotFound) {
		return &Error{Status: http.StatusNotFound, Code: CodeKeyNotFound, Message: "no such key, so there is nothing to touch: write it first"}
	}
	if err != nil {
		return err
	}
	return c.wrote(pos, success{true})
}

// writer is what a batch and a transaction have in common.
type writer interface {
	Put(key, value []byte, ttl time.Duration) error
	Delete(key []byte) error
	PutRow(row []byte, columns map[string][]byte, ttl time.Duration) error
	DeleteRow(row []byte) error
	DeleteColumns(row []byte, columns []string) error
}

// write commits blind writes, all together.
func (c *call) write(fill func(writer) error, answer any) error {
	var b dbkernel.Batch
	if err := fill(&b); err != nil {
		return err
	}
	pos, err := c.ns.Write(c.Context(), &b)
	if err != nil {
		return err
	}
	return c.wrote(pos, answer)
}

// writeIf commits writes where check passes.
func (c *call) writeIf(cond dbkernel.Cond, check func(*dbkernel.Tx) error, fill func(writer) error) error {
	pos, err := c.update(func(tx *dbkernel.Tx) error {
		if err := check(tx); err != nil {
			return err
		}
		return fill(tx)
	})
	if err != nil {
		return conditionFailed(err, cond)
	}
	return c.wrote(pos, success{true})
}

// update commits writes that depend on what is there. A replica refuses them
// before fn reads: what it would read there is not what decides.
func (c *call) update(fn func(*dbkernel.Tx) error) (dbkernel.Position, error) {
	if c.ns.Status().Replica {
		return dbkernel.Position{}, fmt.Errorf("namespace %q: %w: write to its owner", c.namespace, dbkernel.ErrReadOnly)
	}
	return c.ns.Update(c.Context(), fn)
}

// kvBatchIn is the body of POST /kv/batch.
type kvBatchIn struct {
	Operation string `json:"operation"`
	Items     []struct {
		keyIn
		Value *string `json:"value"`
	} `json:"items"`
	// Keys are what a get or delete takes; where one isn't text, Items without values.
	Keys []string `json:"keys"`
}

func (c *call) kvBatch() error {
	if err := c.noTransaction("write in a transaction by POST /tx/{txnId}/kv"); err != nil {
		return err
	}
	var in kvBatchIn
	if err := c.readJSON(maxBody, &in); err != nil {
		return err
	}
	switch in.Operation {
	case "put":
		return c.kvBatchPut(&in)
	case "delete":
		return c.kvBatchDelete(&in)
	case "get":
		return c.kvBatchGet(&in)
	}
	return unknownOperation("operation", in.Operation, `"put", "delete" or "get"`)
}

func unknownOperation(what, got, want string) error {
	return badRequest(CodeUnknownOperation, "%s %q is unknown: use %s", what, got, want)
}

func (c *call) kvBatchPut(in *kvBatchIn) error {
	if in.Keys != nil {
		return badRequest(CodeBadRequest, "keys are of the operations delete and get: a put takes items")
	}
	if len(in.Items) == 0 {
		return badRequest(CodeEmptyRequest, "items is empty: send at least one")
	}
	fill := func(w writer) error {
		for i, item := range in.Items {
			what := fmt.Sprintf("items[%d].", i)
			key, err := item.decode(what)
			if err != nil {
				return err
			}
			value, err := decodeValue(what+"value", item.Value)
			if err != nil {
				return err
			}
			if err := w.Put(key, value, 0); err != nil {
				return fmt.Errorf("items[%d]: %w", i, err)
			}
		}
		return nil
	}
	return c.write(fill, successCount{true, len(in.Items)})
}

// keys are those of a batch that deletes or reads, in the order asked.
func (in *kvBatchIn) keys() ([][]byte, error) {
	switch {
	case in.Items != nil && in.Keys != nil:
		return nil, badRequest(CodeBadRequest, "both keys and items: give one")
	case len(in.Items)+len(in.Keys) == 0:
		return nil, badRequest(CodeEmptyRequest, "keys is empty: send at least one")
	}
	out := make([][]byte, 0, len(in.Items)+len(in.Keys))
	for i, s := range in.Keys {
		if err := checkKey(fmt.Sprintf("keys[%d]", i), []byte(s)); err != nil {
			return nil, err
		}
		out = append(out, []byte(s))
	}
	for i, item := range in.Items {
		what := fmt.Sprintf("items[%d].", i)
		if item.Value != nil {
			return nil, badRequest(CodeBadRequest, "%svalue is only for a put", what)
		}
		key, err := item.decode(what)
		if err != nil {
			return nil, err
		}
		out = append(out, key)
	}
	return out, nil
}

func (c *call) kvBatchDelete(in *kvBatchIn) error {
	keys, err := in.keys()
	if err != nil {
		return err
	}
	fill := func(w writer) error {
		for _, key := range keys {
			if err := w.Delete(key); err != nil {
				return err
			}
		}
		return nil
	}
	return c.write(fill, successCount{true, len(keys)})
}

type kvItem struct {
	keyOut
	kvAnswer
}

// kvBatchGet answers keys at one LSN. The values of an answer are bounded as
// those of a batch are, for they are held in memory.
func (c *call) kvBatchGet(in *kvBatchIn) error {
	keys, err := in.keys()
	if err != nil {
		return err
	}
	items := make([]kvItem, 0, len(keys))
	err = c.view(func(view *dbkernel.View) error {
		size := 0
		for _, key := range keys {
			v, err := view.Get(key)
			if err != nil && !errors.Is(err, dbkernel.ErrNotFound) {
				return err
			}
			size += len(v.Data)
			if err := c.gather(size); err != nil {
				return err
			}
			items = append(items, kvItem{outKey(key), outValue(v, err == nil)})
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.json(struct {
		Items []kvItem `json:"items"`
	}{items})
}

// kvListItem leaves the value out where only keys were asked for.
type kvListItem struct {
	keyOut
	Value     *[]byte          `json:"value,omitempty"`
	Version   dbkernel.Version `json:"version"`
	ExpiresAt *time.Time       `json:"expires_at,omitempty"`
}

func (c *call) kvList() error {
	scan, fingerprint, err := c.scan("kv")
	if err != nil {
		return err
	}
	var page dbkernel.Page[dbkernel.KVItem]
	if err := c.view(func(v *dbkernel.View) (err error) { page, err = v.Scan(scan); return err }); err != nil {
		return err
	}
	out := struct {
		Items  []kvListItem `json:"items"`
		Cursor string       `json:"cursor,omitempty"`
	}{Items: make([]kvListItem, 0, len(page.Items))}
	for _, it := range page.Items {
		item := kvListItem{keyOut: outKey(it.Key), Version: it.Version, ExpiresAt: outTime(it.ExpiresAt)}
		if !scan.KeysOnly {
			value := outBytes(it.Data)
			item.Value = &value
		}
		out.Items = append(out.Items, item)
	}
	if page.More {
		out.Cursor = nextCursor(fingerprint, page.Last)
	}
	return c.json(out)
}
