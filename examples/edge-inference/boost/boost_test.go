package boost

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"reflect"
	"testing"
)

// ring is what no single threshold tells apart: only the middle is positive.
func ring() (x [][]float64, positive []bool) {
	for i := range 200 {
		v := float64(i) / 200
		x = append(x, []float64{v, 1})
		positive = append(positive, v > 0.3 && v < 0.6)
	}
	return x, positive
}

func TestTrain(t *testing.T) {
	x, positive := ring()
	o := Options{Inputs: []string{"v", "constant"}, Rounds: 50, Rate: 0.5}
	m := Train(x, positive, o)
	if got := m.Accuracy(x, positive); got < 0.99 {
		t.Errorf("it gets %v right of what it has learned from", got)
	}
	if again := Train(x, positive, o); !reflect.DeepEqual(m, again) {
		t.Error("the same examples made another model")
	}
	if m := Train(x, make([]bool, len(x)), o); m.Score(x[0]) > 0.01 || math.IsInf(m.Bias, 0) {
		t.Errorf("without a positive example it gives %v", m.Score(x[0]))
	}
}

func TestDecodeReadsWhatEncodeWrites(t *testing.T) {
	x, positive := ring()
	m := Train(x, positive, Options{Inputs: []string{"v", "constant"}, Rounds: 10, Rate: 0.5})
	got, err := Decode(m.Encode())
	if err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("got %+v, %v, want %+v", got, err, m)
	}
}

// TestDecodeRefusesDamage: any bit that is turned, any end that is missing, anything behind it.
func TestDecodeRefusesDamage(t *testing.T) {
	good := (&Model{Inputs: []string{"v"}, Bias: 1, Stumps: []Stump{{0, 0.5, -1, 1}}}).Encode()
	refused := func(b []byte, what string, i int) {
		t.Helper()
		if m, err := Decode(b); !errors.Is(err, ErrDamaged) || m != nil {
			t.Errorf("%s %d: %v, %v", what, i, m, err)
		}
	}
	for i := range 8 * len(good) {
		b := bytes.Clone(good)
		b[i/8] ^= 1 << (i % 8)
		refused(b, "bit", i)
	}
	for n := range good {
		refused(good[:n], "length", n)
	}
	refused(append(bytes.Clone(good), 0), "length", len(good)+1)
}

// TestDecodeRefusesNonsense that carries the right checksum.
func TestDecodeRefusesNonsense(t *testing.T) {
	for what, m := range map[string]*Model{
		"an input that isn't there": {Inputs: []string{"v"}, Stumps: []Stump{{Input: 1}}},
		"not a number":              {Bias: math.NaN()},
		"infinity":                  {Inputs: []string{"v"}, Stumps: []Stump{{Left: math.Inf(1)}}},
	} {
		if _, err := Decode(m.Encode()); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", what, err)
		}
	}
	seal := func(body string) []byte {
		b := append([]byte(magic), body...)
		return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	}
	for what, body := range map[string]string{
		"nothing":              "",
		"a name that is cut":   "\x01\x00\xff\xffv",
		"stumps that are cut":  "\x00\x00" + "\x00\x00\x00\x00\x00\x00\x00\x00" + "\xff\xff\xff\xff",
		"bytes behind the end": "\x00\x00" + "\x00\x00\x00\x00\x00\x00\x00\x00" + "\x00\x00\x00\x00" + "?",
	} {
		if _, err := Decode(seal(body)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
