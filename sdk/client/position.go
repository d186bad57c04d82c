package client

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

const (
	headerPosition  = "X-Unisondb-Position"
	headerAtLeast   = "X-Unisondb-At-Least"
	headerOwner     = "X-Unisondb-Owner"
	headerExpiresAt = "X-Unisondb-Expires-At"
	headerChecksum  = "X-Unisondb-Checksum"
)

// Position is a place in the history of a namespace: the only thing that says
// "where". The zero value is no position.
type Position struct {
	// Lineage is the id that the namespace got when it was created: 32
	// hexadecimal digits.
	Lineage string
	// Epoch rises each time that the ownership changes or the owner starts.
	Epoch uint64
	// LSN is the number of the record.
	LSN uint64
}

// IsZero reports whether p is no position.
func (p Position) IsZero() bool { return p == Position{} }

// String is the public form, <lineage>:<epoch>:<lsn>; empty for no position.
func (p Position) String() string {
	if p.IsZero() {
		return ""
	}
	return p.Lineage + ":" + strconv.FormatUint(p.Epoch, 10) + ":" + strconv.FormatUint(p.LSN, 10)
}

// Follows reports whether p is q or later in the same history, as far as the
// numbers can tell. A later epoch that stands at an earlier LSN has cut q off,
// and doesn't follow it.
func (p Position) Follows(q Position) bool {
	return p.Lineage == q.Lineage && p.Epoch >= q.Epoch && p.LSN >= q.LSN
}

// MarshalText implements encoding.TextMarshaler.
func (p Position) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler. Empty text is no position.
func (p *Position) UnmarshalText(b []byte) (err error) {
	if len(b) == 0 {
		*p = Position{}
		return nil
	}
	*p, err = ParsePosition(string(b))
	return err
}

// ParsePosition reads the form that String writes.
func ParsePosition(s string) (Position, error) {
	bad := func() (Position, error) {
		return Position{}, fmt.Errorf("%w: %q is no position: expected <lineage>:<epoch>:<lsn>, as a write answers it", ErrInvalid, s)
	}
	parts := strings.Split(s, ":")
	if len(parts) != 3 {
		return bad()
	}
	if lineage, err := hex.DecodeString(parts[0]); err != nil || len(lineage) != 16 {
		return bad()
	}
	epoch, err := strconv.ParseUint(parts[1], 10, 64)
	if err != nil {
		return bad()
	}
	lsn, err := strconv.ParseUint(parts[2], 10, 64)
	if err != nil {
		return bad()
	}
	return Position{Lineage: parts[0], Epoch: epoch, LSN: lsn}, nil
}

// positionOf reads an answer's position; the zero value where there is none.
func positionOf(h http.Header) (Position, error) {
	s := h.Get(headerPosition)
	if s == "" {
		return Position{}, nil
	}
	return ParsePosition(s)
}
