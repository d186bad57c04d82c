package client

import (
	"fmt"
	"unicode/utf8"
)

// escape percent-encodes a key for a path: every byte but the unreserved ones of
// RFC 3986. A key of dots alone is encoded, too, since "." and ".." mean
// something in a path.
func escape(key []byte) string {
	dots := true
	for _, b := range key {
		dots = dots && b == '.'
	}
	const hexDigits = "0123456789ABCDEF"
	out := make([]byte, 0, len(key)+16)
	for _, b := range key {
		if unreserved(b) && !dots {
			out = append(out, b)
		} else {
			out = append(out, '%', hexDigits[b>>4], hexDigits[b&15])
		}
	}
	return string(out)
}

func unreserved(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' ||
		b == '-' || b == '.' || b == '_' || b == '~'
}

// checkKey refuses the empty key, whose path would be that of another route.
func checkKey(key []byte) error {
	if len(key) == 0 {
		return fmt.Errorf("%w: the key is empty: give one of 1 to 400 bytes", ErrInvalid)
	}
	return nil
}

// jsonKey is a key within JSON: text where it is UTF-8, base64 where it isn't.
type jsonKey struct {
	Key       *string `json:"key,omitempty"`
	KeyBase64 []byte  `json:"key_base64,omitempty"`
}

func newJSONKey(key []byte) jsonKey {
	if !utf8.Valid(key) {
		return jsonKey{KeyBase64: key}
	}
	s := string(key)
	return jsonKey{Key: &s}
}

func (k jsonKey) bytes() []byte {
	if k.Key != nil {
		return []byte(*k.Key)
	}
	return k.KeyBase64
}

// jsonRowKey is a row's key within JSON.
type jsonRowKey struct {
	RowKey       *string `json:"rowKey,omitempty"`
	RowKeyBase64 []byte  `json:"row_key_base64,omitempty"`
}

func newJSONRowKey(key []byte) jsonRowKey {
	k := newJSONKey(key)
	return jsonRowKey{RowKey: k.Key, RowKeyBase64: k.KeyBase64}
}

func (k jsonRowKey) bytes() []byte {
	return jsonKey{Key: k.RowKey, KeyBase64: k.RowKeyBase64}.bytes()
}
