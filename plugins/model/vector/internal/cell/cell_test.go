package cell

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
)

func TestKeys(t *testing.T) {
	keys := [][]byte{SettingsKey("a"), SettingsKey("b"), VectorKey("a", "1"), VectorKey("a", "1\x00"), VectorKey("a", "2"), VectorKey("a-b", "1"), VectorKey("ab", "0")}
	if !slices.IsSortedFunc(keys, bytes.Compare) {
		t.Error("settings do not come before vectors, or vectors aren't in the order of set and id")
	}
	for _, id := range []string{"1", "a\x00b", strings.Repeat("x", MaxIDLen), "日"} {
		set, got, err := ParseKey(VectorKey("docs", id))
		if err != nil || set != "docs" || got != id {
			t.Errorf("key of %q reads as %q, %q, %v", id, set, got, err)
		}
	}
	for _, key := range []string{"", "\x01", "\x02", "\x02a", "\x02a\x00", "\x03a", "\x01a b", "\x02a\x00\xff", "\x01a\x00b"} {
		if _, _, err := ParseKey([]byte(key)); !errors.Is(err, ErrDamaged) {
			t.Errorf("key %q: %v", key, err)
		}
	}
	if n := len(VectorKey(strings.Repeat("s", MaxSetLen), strings.Repeat("i", MaxIDLen))); n > 400 {
		t.Errorf("the longest key has %d bytes, the kernel takes 400", n)
	}
}

func TestValues(t *testing.T) {
	s := Settings{Metric: 2, Dimension: 384, Incarnation: 7}
	if got, err := DecodeSettings(s.Encode()); err != nil || got != s {
		t.Errorf("settings: %+v, %v", got, err)
	}
	v := Vector{Incarnation: 1 << 40, Values: []float32{1, -2.5, math.MaxFloat32}, Metadata: []byte(`{"a":1}`)}
	encoded := v.Encode()
	got, err := DecodeVector(encoded)
	if err != nil || got.Incarnation != v.Incarnation || !slices.Equal(got.Values, v.Values) || !bytes.Equal(got.Metadata, v.Metadata) {
		t.Errorf("vector: %+v, %v", got, err)
	}
	for n := range vectorHeader + 4*len(v.Values) {
		if _, err := DecodeVector(encoded[:n]); !errors.Is(err, ErrDamaged) {
			t.Errorf("cut off at %d bytes: %v", n, err)
		}
	}
	encoded[0]++
	if _, err := DecodeVector(encoded); !errors.Is(err, ErrDamaged) {
		t.Errorf("a newer version: %v", err)
	}
	if _, err := DecodeVector((Vector{Values: []float32{float32(math.NaN())}}).Encode()); !errors.Is(err, ErrDamaged) {
		t.Errorf("NaN: %v", err)
	}
}

// TestLayout pins the bytes: what a node has stored must be read by each later one.
func TestLayout(t *testing.T) {
	s := Settings{Dropped: true, Metric: 3, Dimension: 0x0102, Incarnation: 5}
	if got, want := s.Encode(), "\x01\x01\x03\x02\x01\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00"; string(got) != want {
		t.Errorf("settings are %q, want %q", got, want)
	}
	v := Vector{Incarnation: 5, Values: []float32{1}, Metadata: []byte(`{}`)}
	if got, want := v.Encode(), "\x01\x05\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x80\x3f{}"; string(got) != want {
		t.Errorf("vector is %q, want %q", got, want)
	}
	if got, want := VectorKey("ab", "id"), "\x02ab\x00id"; string(got) != want {
		t.Errorf("key is %q, want %q", got, want)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(SettingsKey("docs"), Settings{Metric: 1, Dimension: 3}.Encode())
	f.Add(VectorKey("docs", "a"), Vector{Values: []float32{1, 2}, Metadata: []byte(`{}`)}.Encode())
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		if set, id, err := ParseKey(key); err == nil {
			again := SettingsKey(set)
			if id != "" {
				again = VectorKey(set, id)
			}
			if !bytes.Equal(again, key) {
				t.Errorf("key %q reads as %q, %q", key, set, id)
			}
		}
		if s, err := DecodeSettings(value); err == nil && !bytes.Equal(s.Encode(), value) {
			t.Errorf("settings %q read as %+v", value, s)
		}
		if v, err := DecodeVector(value); err == nil && !bytes.Equal(v.Encode(), value) {
			t.Errorf("vector %q reads as %+v", value, v)
		}
	})
}
