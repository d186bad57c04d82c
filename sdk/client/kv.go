package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
	"unicode/utf8"
)

// KV is the key-value model of a namespace: one value under each key.
type KV struct{ c *Client }

// Value is what a key holds.
type Value struct {
	Data []byte
	// Version is opaque and changes with every write; see [IfVersion].
	Version string
	// ExpiresAt is zero for a value that never expires.
	ExpiresAt time.Time
	// Position is what the read saw.
	Position Position
}

// Item is a key of a list or a batch, with its value.
type Item struct {
	Key       []byte
	Value     []byte // nil where keys only were asked for
	Version   string
	ExpiresAt time.Time
}

// Get reads a key. A missing one is [ErrNotFound].
func (k KV) Get(ctx context.Context, key []byte, opts ...ReadOption) (Value, error) {
	return k.get(ctx, key, readOptions(opts))
}

func (k KV) get(ctx context.Context, key []byte, o callOptions) (Value, error) {
	if err := checkKey(key); err != nil {
		return Value{}, err
	}
	r := k.c.data(http.MethodGet, "kv/"+escape(key), o).asRead()
	r.header.Set("Accept", contentBytes)
	resp, p, err := k.c.send(ctx, r)
	if err != nil {
		return Value{}, err
	}
	defer closeBody(resp)
	expiresAt, err := expiresAtOf(resp.Header)
	if err != nil {
		return Value{}, err
	}
	data, err := readValue(resp)
	if err != nil {
		return Value{}, fmt.Errorf("read the value: %w", transportError(err))
	}
	return Value{Data: data, Version: versionOf(resp.Header), ExpiresAt: expiresAt, Position: p}, nil
}

// maxValue is the longest value that a key can have, in bytes.
const maxValue = 8 << 20

// readValue reads an answer of bytes, into a buffer of the right size where the
// length is known and believable.
func readValue(resp *http.Response) ([]byte, error) {
	if resp.ContentLength < 0 || resp.ContentLength > maxValue {
		return io.ReadAll(resp.Body)
	}
	data := make([]byte, resp.ContentLength)
	_, err := io.ReadFull(resp.Body, data)
	return data, err
}

// Put writes a value of up to 8 MiB.
func (k KV) Put(ctx context.Context, key, value []byte, opts ...WriteOption) (Position, error) {
	if err := checkKey(key); err != nil {
		return Position{}, err
	}
	return k.c.write(ctx, k.c.data(http.MethodPut, "kv/"+escape(key), writeOptions(opts)).withBytes(value))
}

// Delete removes a key. It succeeds, too, where the key is absent, unless a
// condition says otherwise.
func (k KV) Delete(ctx context.Context, key []byte, opts ...WriteOption) (Position, error) {
	if err := checkKey(key); err != nil {
		return Position{}, err
	}
	return k.c.write(ctx, k.c.data(http.MethodDelete, "kv/"+escape(key), writeOptions(opts)))
}

// Touch gives a key a new expiry, ttl from now, and keeps its value. A missing
// key is [ErrNotFound].
func (k KV) Touch(ctx context.Context, key []byte, ttl time.Duration, opts ...WriteOption) (Position, error) {
	if err := checkKey(key); err != nil {
		return Position{}, err
	}
	o := writeOptions(append(opts[:len(opts):len(opts)], TTL(ttl)))
	return k.c.write(ctx, k.c.data(http.MethodPost, "kv/"+escape(key)+"/touch", o))
}

// KeyValue is a key with the value to put there.
type KeyValue struct {
	Key, Value []byte
}

// PutAll writes all items at one position, or none. A value is at most 1 MiB and
// all together 32 MiB.
func (k KV) PutAll(ctx context.Context, items []KeyValue, opts ...WriteOption) (Position, error) {
	type item struct {
		jsonKey
		Value []byte `json:"value"`
	}
	body := struct {
		Operation string `json:"operation"`
		Items     []item `json:"items"`
	}{Operation: "put", Items: make([]item, len(items))}
	for i, it := range items {
		body.Items[i] = item{newJSONKey(it.Key), orEmpty(it.Value)}
	}
	return k.c.writeJSON(ctx, k.c.data(http.MethodPost, "kv/batch", writeOptions(opts)), body)
}

// DeleteAll removes all keys at one position, or none.
func (k KV) DeleteAll(ctx context.Context, keys [][]byte, opts ...WriteOption) (Position, error) {
	return k.c.writeJSON(ctx, k.c.data(http.MethodPost, "kv/batch", writeOptions(opts)), newKeyBatch("delete", keys))
}

// Found is the answer of [KV.GetAll] for one key.
type Found struct {
	Item
	Found bool
}

// GetAll reads keys, all at one position, and answers them in the order asked.
func (k KV) GetAll(ctx context.Context, keys [][]byte, opts ...ReadOption) ([]Found, Position, error) {
	r, err := k.c.data(http.MethodPost, "kv/batch", readOptions(opts)).asRead().withJSON(newKeyBatch("get", keys))
	if err != nil {
		return nil, Position{}, err
	}
	var answer struct {
		Items []struct {
			jsonItem
			Found bool `json:"found"`
		} `json:"items"`
	}
	p, err := k.c.call(ctx, r, &answer)
	if err != nil {
		return nil, Position{}, err
	}
	if len(answer.Items) != len(keys) {
		return nil, Position{}, fmt.Errorf("asked for %d keys, the node answered %d", len(keys), len(answer.Items))
	}
	found := make([]Found, len(keys))
	for i, it := range answer.Items {
		found[i] = Found{Item: it.item(), Found: it.Found}
		found[i].Key = keys[i]
	}
	return found, p, nil
}

// keyBatch is the body of a batch that names keys alone: as text, or as items
// where one isn't UTF-8.
type keyBatch struct {
	Operation string    `json:"operation"`
	Keys      []string  `json:"keys,omitempty"`
	Items     []jsonKey `json:"items,omitempty"`
}

func newKeyBatch(operation string, keys [][]byte) keyBatch {
	text := make([]string, len(keys))
	for i, key := range keys {
		if !utf8.Valid(key) {
			return keyBatch{Operation: operation, Items: newJSONKeys(keys)}
		}
		text[i] = string(key)
	}
	return keyBatch{Operation: operation, Keys: text}
}

func newJSONKeys(keys [][]byte) []jsonKey {
	items := make([]jsonKey, len(keys))
	for i, key := range keys {
		items[i] = newJSONKey(key)
	}
	return items
}

// jsonItem is a key with its value within JSON.
type jsonItem struct {
	jsonKey
	Value     []byte    `json:"value"`
	Version   string    `json:"version"`
	ExpiresAt time.Time `json:"expires_at"`
}

func (it jsonItem) item() Item {
	return Item{Key: it.bytes(), Value: it.Value, Version: it.Version, ExpiresAt: it.ExpiresAt}
}

// orEmpty keeps JSON from turning an empty value into null.
func orEmpty(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
