// Package cell is how sets and vectors lie in the model's keys: the byte layouts
// of DESIGN.md of the program.
package cell

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

// Limits of what a cell holds.
const (
	MaxSetLen       = 64
	MaxIDLen        = 256
	MaxDimension    = 4096
	MaxMetadataSize = 64 << 10
)

// Prefixes of keys.
const (
	settingsPrefix = 0x01
	vectorPrefix   = 0x02
	setEnd         = 0x00 // no byte of a set's name
)

// formatVersion begins each value. A reader refuses those that it doesn't know.
const formatVersion = 1

// ErrDamaged is wrapped by what is wrong with a key or a value.
var ErrDamaged = errors.New("not a cell of this program: another model's, or a newer program's")

// SettingsPrefix begins the keys of all settings, before all vectors' keys.
func SettingsPrefix() []byte { return []byte{settingsPrefix} }

// SettingsKey is the key of a set's settings.
func SettingsKey(set string) []byte { return append([]byte{settingsPrefix}, set...) }

// VectorPrefix begins the keys of a set's vectors.
func VectorPrefix(set string) []byte {
	return append(append([]byte{vectorPrefix}, set...), setEnd)
}

// VectorKey is the key of a vector.
func VectorKey(set, id string) []byte { return append(VectorPrefix(set), id...) }

// ParseKey reads a key: of a vector, or of settings where the id is empty.
func ParseKey(key []byte) (set, id string, err error) {
	if len(key) == 0 {
		return "", "", fmt.Errorf("empty key: %w", ErrDamaged)
	}
	switch key[0] {
	case settingsPrefix:
		set = string(key[1:])
	case vectorPrefix:
		name, rest, found := bytes.Cut(key[1:], []byte{setEnd})
		if !found || len(rest) == 0 {
			return "", "", fmt.Errorf("key %q: %w", key, ErrDamaged)
		}
		set, id = string(name), string(rest)
	default:
		return "", "", fmt.Errorf("key %q: %w", key, ErrDamaged)
	}
	if CheckSet(set) != nil || id != "" && CheckID(id) != nil {
		return "", "", fmt.Errorf("key %q: %w", key, ErrDamaged)
	}
	return set, id, nil
}

// CheckSet says what is wrong with the name of a set.
func CheckSet(set string) error {
	if set == "" {
		return errors.New("set: it is missing, name the set of vectors")
	}
	for i := range len(set) {
		c := set[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || c != '.' && c != '_' && c != '-') || i >= MaxSetLen {
			return fmt.Errorf("set %.80q: use 1 to %d letters, digits, '.', '_' or '-', the first a letter or a digit", set, MaxSetLen)
		}
	}
	return nil
}

// CheckID says what is wrong with a vector's id.
func CheckID(id string) error {
	switch {
	case id == "":
		return fmt.Errorf("id: it is missing or empty, use 1 to %d bytes of UTF-8", MaxIDLen)
	case len(id) > MaxIDLen:
		return fmt.Errorf("id %.40q…: it has %d bytes, use 1 to %d", id, len(id), MaxIDLen)
	case !utf8.ValidString(id):
		return fmt.Errorf("id %.80q: it is no UTF-8, use 1 to %d bytes of UTF-8", id, MaxIDLen)
	}
	return nil
}

// Settings are what all vectors of a set share.
type Settings struct {
	// Dropped says that the set is gone; its incarnation is kept, so that vectors
	// which weren't deleted with it don't come back with the next one.
	Dropped     bool
	Metric      uint8
	Dimension   int
	Incarnation uint64 // rises by one each time the set is made anew
}

const settingsSize = 1 + 1 + 1 + 4 + 8

// Encode is the settings' value.
func (s Settings) Encode() []byte {
	b := make([]byte, 0, settingsSize)
	b = append(b, formatVersion, boolByte(s.Dropped), s.Metric)
	b = binary.LittleEndian.AppendUint32(b, uint32(s.Dimension))
	return binary.LittleEndian.AppendUint64(b, s.Incarnation)
}

// DecodeSettings reads what Encode wrote.
func DecodeSettings(b []byte) (Settings, error) {
	if len(b) != settingsSize || b[0] != formatVersion || b[1] > 1 {
		return Settings{}, fmt.Errorf("settings of %d bytes: %w", len(b), ErrDamaged)
	}
	s := Settings{
		Dropped: b[1] == 1, Metric: b[2],
		Dimension:   int(binary.LittleEndian.Uint32(b[3:])),
		Incarnation: binary.LittleEndian.Uint64(b[7:]),
	}
	if s.Dimension < 1 || s.Dimension > MaxDimension {
		return Settings{}, fmt.Errorf("settings with %d dimensions: %w", s.Dimension, ErrDamaged)
	}
	return s, nil
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// Vector is a vector's value.
type Vector struct {
	// Incarnation is the set's when the vector was written. Where it isn't the
	// settings', the vector belongs to a set that was dropped, and isn't there.
	Incarnation uint64
	Values      []float32
	Metadata    []byte // a JSON object, or nothing
}

const vectorHeader = 1 + 8 + 4

// Encode is the vector's value.
func (v Vector) Encode() []byte {
	b := make([]byte, 0, vectorHeader+4*len(v.Values)+len(v.Metadata))
	b = append(b, formatVersion)
	b = binary.LittleEndian.AppendUint64(b, v.Incarnation)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(v.Values)))
	b = AppendFloats(b, v.Values)
	return append(b, v.Metadata...)
}

// DecodeVector reads what Encode wrote. The values are copied, the metadata isn't.
func DecodeVector(b []byte) (Vector, error) {
	if len(b) < vectorHeader || b[0] != formatVersion {
		return Vector{}, fmt.Errorf("vector of %d bytes: %w", len(b), ErrDamaged)
	}
	v := Vector{Incarnation: binary.LittleEndian.Uint64(b[1:])}
	n := binary.LittleEndian.Uint32(b[9:])
	rest := b[vectorHeader:]
	if n < 1 || n > MaxDimension || int64(len(rest)) < 4*int64(n) {
		return Vector{}, fmt.Errorf("vector of %d dimensions in %d bytes: %w", n, len(b), ErrDamaged)
	}
	v.Values = Floats(rest[:4*n])
	for i, x := range v.Values {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return Vector{}, fmt.Errorf("value %d is %v: %w", i, x, ErrDamaged)
		}
	}
	if rest = rest[4*n:]; len(rest) > 0 {
		v.Metadata = rest
	}
	return v, nil
}

// AppendFloats appends values as float32, little-endian.
func AppendFloats(b []byte, values []float32) []byte {
	for _, x := range values {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}

// Floats reads what AppendFloats wrote; what is left of four bytes is ignored.
func Floats(b []byte) []float32 {
	values := make([]float32, len(b)/4)
	for i := range values {
		values[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return values
}
