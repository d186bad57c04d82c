package boost

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

// magic begins encoded weights. Its digit is the version of the format.
const magic = "stumps1\n"

// stumpSize is what an encoded stump takes.
const stumpSize = 2 + 3*8

// ErrDamaged says that bytes are no weights, or not those that were encoded.
var ErrDamaged = errors.New("the weights are damaged")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Encode writes the model as bytes: magic, inputs, bias, stumps, CRC-32C; all numbers are
// little-endian.
func (m *Model) Encode() []byte {
	le := binary.LittleEndian
	float := func(b []byte, v float64) []byte { return le.AppendUint64(b, math.Float64bits(v)) }
	b := le.AppendUint16([]byte(magic), uint16(len(m.Inputs)))
	for _, name := range m.Inputs {
		b = append(le.AppendUint16(b, uint16(len(name))), name...)
	}
	b = float(b, m.Bias)
	b = le.AppendUint32(b, uint32(len(m.Stumps)))
	for _, s := range m.Stumps {
		b = le.AppendUint16(b, uint16(s.Input))
		b = float(float(float(b, s.Threshold), s.Left), s.Right)
	}
	return le.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// Decode reads what Encode wrote. Bytes that it didn't write are ErrDamaged.
func Decode(b []byte) (*Model, error) {
	if len(b) < len(magic)+4 || !bytes.HasPrefix(b, []byte(magic)) {
		return nil, fmt.Errorf("%w: they don't begin with %q", ErrDamaged, magic)
	}
	body, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return nil, fmt.Errorf("%w: their checksum is wrong", ErrDamaged)
	}
	r := reader{b: body[len(magic):]}
	m := r.model()
	if r.err == nil && len(r.b) > 0 {
		r.err = fmt.Errorf("%d bytes stand behind their end", len(r.b))
	}
	if r.err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, r.err)
	}
	return m, nil
}

// reader takes numbers off the front of bytes; after an error it answers zeros.
type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n int) []byte {
	if r.err == nil && len(r.b) < n {
		r.err = errors.New("they end too early")
	}
	if r.err != nil {
		return make([]byte, 8)[:min(n, 8)]
	}
	taken := r.b[:n]
	r.b = r.b[n:]
	return taken
}

func (r *reader) uint16() int { return int(binary.LittleEndian.Uint16(r.take(2))) }

func (r *reader) float() float64 {
	v := math.Float64frombits(binary.LittleEndian.Uint64(r.take(8)))
	if r.err == nil && (math.IsNaN(v) || math.IsInf(v, 0)) {
		r.err = errors.New("a number in them isn't finite")
	}
	return v
}

func (r *reader) model() *Model {
	m := &Model{}
	for range r.uint16() {
		m.Inputs = append(m.Inputs, string(r.take(r.uint16())))
	}
	m.Bias = r.float()
	n := int64(binary.LittleEndian.Uint32(r.take(4)))
	if r.err == nil && n*stumpSize != int64(len(r.b)) {
		r.err = fmt.Errorf("they announce %d stumps and have %d bytes of them", n, len(r.b))
	}
	if r.err != nil {
		return nil
	}
	for range n {
		s := Stump{Input: r.uint16(), Threshold: r.float(), Left: r.float(), Right: r.float()}
		if r.err == nil && s.Input >= len(m.Inputs) {
			r.err = fmt.Errorf("a stump asks for input %d of %d", s.Input, len(m.Inputs))
		}
		m.Stumps = append(m.Stumps, s)
	}
	return m
}
