// Package filter selects vectors by their metadata. Metadata is parsed once, when
// a vector comes, into a list of (path, value) that a filter reads without
// allocating; a filter is parsed once for each search.
package filter

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
)

// maxDepth bounds how deep metadata and filters are nested.
const maxDepth = 16

// The kinds of values in attributes.
const (
	kindEmpty  = 'e' // an object or a list without members: the path is there
	kindNull   = 'z'
	kindFalse  = 'f'
	kindTrue   = 't'
	kindNumber = 'n' // 8 bytes: a float64, little-endian
	kindString = 's' // uvarint length, bytes
)

// Metadata checks a JSON object and answers it without white space, and its
// attributes: for each scalar in it a uvarint length and path, names joined by dots,
// then a kind and a value. The members of a list share the list's path.
func Metadata(raw []byte) (compact, attributes []byte, err error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	t, err := d.Token()
	if err != nil {
		return nil, nil, fmt.Errorf("metadata: %w", err)
	}
	if t != json.Delim('{') {
		return nil, nil, errors.New("metadata: it is no JSON object, use {\"name\": value, …}")
	}
	if attributes, err = appendObject(nil, d, "", 1); err != nil {
		return nil, nil, fmt.Errorf("metadata: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, nil, errors.New("metadata: something follows the JSON object, remove it")
	}
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return nil, nil, fmt.Errorf("metadata: %w", err)
	}
	return b.Bytes(), attributes, nil
}

// appendObject appends what an object holds, whose brace has been read.
func appendObject(b []byte, d *json.Decoder, path string, depth int) ([]byte, error) {
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		name, _ := t.(string)
		if name == "" {
			return nil, errors.New("a member has an empty name: name it")
		}
		if seen[name] {
			return nil, fmt.Errorf("%q stands twice in one object: name each member once", name)
		}
		seen[name] = true
		inner := name
		if path != "" {
			inner = path + "." + name
		}
		if b, err = appendValue(b, d, inner, depth); err != nil {
			return nil, err
		}
	}
	if len(seen) == 0 && path != "" {
		b = appendPath(b, path, kindEmpty)
	}
	_, err := d.Token()
	return b, err
}

func appendList(b []byte, d *json.Decoder, path string, depth int) ([]byte, error) {
	empty := true
	for d.More() {
		empty = false
		var err error
		if b, err = appendValue(b, d, path, depth); err != nil {
			return nil, err
		}
	}
	if empty {
		b = appendPath(b, path, kindEmpty)
	}
	_, err := d.Token()
	return b, err
}

func appendValue(b []byte, d *json.Decoder, path string, depth int) ([]byte, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('{'), json.Delim('['):
		if depth >= maxDepth {
			return nil, fmt.Errorf("%q is nested deeper than %d levels: make it flatter", path, maxDepth)
		}
		if t == json.Delim('{') {
			return appendObject(b, d, path, depth+1)
		}
		return appendList(b, d, path, depth+1)
	}
	v, err := scalarOf(t)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", path, err)
	}
	return append(appendPath(b, path, v.kind), v.payload()...), nil
}

func appendPath(b []byte, path string, kind byte) []byte {
	return append(append(binary.AppendUvarint(b, uint64(len(path))), path...), kind)
}

// scalar is a value that a filter compares.
type scalar struct {
	kind   byte
	number float64
	text   string
}

func scalarOf(t json.Token) (scalar, error) {
	switch v := t.(type) {
	case nil:
		return scalar{kind: kindNull}, nil
	case bool:
		if v {
			return scalar{kind: kindTrue}, nil
		}
		return scalar{kind: kindFalse}, nil
	case json.Number:
		n, err := v.Float64()
		if err != nil {
			return scalar{}, fmt.Errorf("%s is beyond a double-precision number: use a smaller one, or a string", v)
		}
		return scalar{kind: kindNumber, number: n}, nil
	case string:
		return scalar{kind: kindString, text: v}, nil
	default:
		return scalar{}, errors.New("it is an object or a list: use a string, a number, true, false or null")
	}
}

func (s scalar) payload() []byte {
	switch s.kind {
	case kindNumber:
		return binary.LittleEndian.AppendUint64(nil, math.Float64bits(s.number))
	case kindString:
		return append(binary.AppendUvarint(nil, uint64(len(s.text))), s.text...)
	}
	return nil
}

// attribute is one entry of attributes; path and text share their memory.
type attribute struct {
	path   []byte
	kind   byte
	number float64
	text   []byte
}

// next reads the first entry of attributes, which Metadata made.
func next(b []byte) (a attribute, rest []byte) {
	n, width := binary.Uvarint(b)
	b = b[width:]
	a.path, a.kind, b = b[:n], b[n], b[n+1:]
	switch a.kind {
	case kindNumber:
		a.number = math.Float64frombits(binary.LittleEndian.Uint64(b))
		b = b[8:]
	case kindString:
		n, width := binary.Uvarint(b)
		a.text = b[width : width+int(n)]
		b = b[width+int(n):]
	}
	return a, b
}
