package httpapi

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/unisondb/unisondb/dbkernel"
)

// decodeJSON reads one JSON value and nothing else. It refuses what package
// json would repair or ignore in silence: text that isn't Unicode (which would turn
// into U+FFFD, so that a key names something else), unknown fields, and what
// stands behind the value.
func decodeJSON(body []byte, v any) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return badRequest(CodeInvalidJSON, "the body is empty: a JSON object is expected")
	}
	if err := checkUnicode(body); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return jsonError(err)
	}
	if _, err := d.Token(); err != io.EOF {
		return badRequest(CodeInvalidJSON, "something stands behind the JSON value: send one value")
	}
	return nil
}

func jsonError(err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return badRequest(CodeInvalidJSON, "malformed JSON at byte %d: %v", syntax.Offset, err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return badRequest(CodeInvalidJSON, "malformed JSON: it ends early")
	case errors.As(err, &kind) && kind.Field == "":
		return badRequest(CodeInvalidJSON, "a JSON %s can't stand here: an object is expected", kind.Value)
	case errors.As(err, &kind):
		return badRequest(CodeInvalidJSON, "field %q can't be a JSON %s", kind.Field, kind.Value)
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return badRequest(CodeInvalidJSON, "unknown field %s: check its spelling", name)
	}
	return badRequest(CodeInvalidJSON, "%v", err)
}

// checkUnicode refuses bytes that aren't UTF-8, and \u escapes of half a surrogate pair.
func checkUnicode(body []byte) error {
	if !utf8.Valid(body) {
		return badRequest(CodeInvalidJSON, "the body is not valid UTF-8: send keys of other bytes as key_base64 or row_key_base64")
	}
	for i := bytes.IndexByte(body, '\\'); i >= 0 && i+1 < len(body); {
		n := 2
		if r := unicodeEscape(body[i:]); utf16.IsSurrogate(r) {
			if i+6 > len(body) || utf16.DecodeRune(r, unicodeEscape(body[i+6:])) == utf8.RuneError {
				return badRequest(CodeInvalidJSON, "byte %d: %s is half of a surrogate pair, which is no text: send keys of any bytes as key_base64 or row_key_base64", i, body[i:i+6])
			}
			n = 12
		}
		next := bytes.IndexByte(body[i+n:], '\\')
		if next < 0 {
			break
		}
		i += n + next
	}
	return nil
}

// unicodeEscape is what the \uXXXX at the start of b stands for; -1 if there is none.
func unicodeEscape(b []byte) rune {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return -1
	}
	n, err := strconv.ParseUint(string(b[2:6]), 16, 32)
	if err != nil {
		return -1
	}
	return rune(n)
}

// base64Strict is standard base64 with padding, in its only form.
var base64Strict = base64.StdEncoding.Strict()

func decodeBase64(what, s string) ([]byte, error) {
	if i := strings.IndexAny(s, "\r\n"); i >= 0 {
		return nil, badRequest(CodeInvalidBase64, "%s: byte %d is a line break: base64 goes on one line", what, i)
	}
	b, err := base64Strict.DecodeString(s)
	if err != nil {
		return nil, badRequest(CodeInvalidBase64, "%s is not standard base64 with padding: %v", what, err)
	}
	return b, nil
}

// decodeValue is a value of a JSON body.
func decodeValue(what string, s *string) ([]byte, error) {
	if s == nil {
		return nil, badRequest(CodeBadRequest, `%s is missing: send it in base64, "" for an empty one`, what)
	}
	if base64.StdEncoding.DecodedLen(len(*s))-2 > maxJSONValue {
		return nil, valueTooLarge(what)
	}
	b, err := decodeBase64(what, *s)
	if err == nil && len(b) > maxJSONValue {
		return nil, valueTooLarge(what)
	}
	return b, err
}

func valueTooLarge(what string) error {
	return tooLarge("%s is longer than %d bytes: send a value of up to %d as application/octet-stream, or store a large object", what, maxJSONValue, dbkernel.MaxValueLen)
}

// keyIn is a key in a request, in either form.
type keyIn struct {
	Key       *string `json:"key"`
	KeyBase64 *string `json:"key_base64"`
}

func (k keyIn) present() bool { return k.Key != nil || k.KeyBase64 != nil }

func (k keyIn) decode(what string) ([]byte, error) {
	return decodeKey(what, "key", k.Key, "key_base64", k.KeyBase64)
}

// rowKeyIn is a row's key in a request, in either form.
type rowKeyIn struct {
	RowKey       *string `json:"rowKey"`
	RowKeyBase64 *string `json:"row_key_base64"`
}

func (k rowKeyIn) present() bool { return k.RowKey != nil || k.RowKeyBase64 != nil }

func (k rowKeyIn) decode(what string) ([]byte, error) {
	return decodeKey(what, "rowKey", k.RowKey, "row_key_base64", k.RowKeyBase64)
}

func decodeKey(what, plainName string, plain *string, base64Name string, encoded *string) ([]byte, error) {
	switch {
	case plain == nil && encoded == nil:
		return nil, badRequest(CodeInvalidKey, "%s%s is missing: give it, or %s", what, plainName, base64Name)
	case plain != nil && encoded != nil:
		return nil, badRequest(CodeInvalidKey, "%sboth %s and %s: give one", what, plainName, base64Name)
	case plain != nil:
		return []byte(*plain), checkKey(what+plainName, []byte(*plain))
	}
	key, err := decodeBase64(what+base64Name, *encoded)
	if err != nil {
		return nil, err
	}
	return key, checkKey(what+base64Name, key)
}

// keyOut is a key in an answer: a text where it is one.
type keyOut struct {
	Key       string `json:"key,omitempty"`
	KeyBase64 []byte `json:"key_base64,omitempty"`
}

func outKey(key []byte) keyOut {
	if utf8.Valid(key) {
		return keyOut{Key: string(key)}
	}
	return keyOut{KeyBase64: key}
}

// rowKeyOut is a row's key in an answer.
type rowKeyOut struct {
	RowKey       string `json:"rowKey,omitempty"`
	RowKeyBase64 []byte `json:"row_key_base64,omitempty"`
}

func outRowKey(key []byte) rowKeyOut {
	if utf8.Valid(key) {
		return rowKeyOut{RowKey: string(key)}
	}
	return rowKeyOut{RowKeyBase64: key}
}

// columnsIn are columns to be written.
type columnsIn map[string]*string

func (in columnsIn) decode(what string, row []byte) (map[string][]byte, error) {
	if len(in) == 0 {
		return nil, badRequest(CodeEmptyRequest, "%scolumns is empty: name at least one column", what)
	}
	if err := checkColumns(what+"columns", row, in.names()); err != nil {
		return nil, err
	}
	out := make(map[string][]byte, len(in))
	for name, s := range in {
		v, err := decodeValue(what+"columns."+name, s)
		if err != nil {
			return nil, err
		}
		out[name] = v
	}
	return out, nil
}

func (in columnsIn) names() []string {
	names := make([]string, 0, len(in))
	for name := range in {
		names = append(names, name)
	}
	return names
}

// outBytes is never null in JSON.
func outBytes(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// outColumns is never null in JSON, nor are its values.
func outColumns(in map[string][]byte) map[string][]byte {
	out := make(map[string][]byte, len(in))
	for name, v := range in {
		out[name] = outBytes(v)
	}
	return out
}

// outTime is nil for the zero time.
func outTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
