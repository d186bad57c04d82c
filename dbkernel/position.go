package dbkernel

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
)

// Lineage is the random id that a namespace gets when it is created. Deleted
// and created again, or restored from a backup, it is another lineage.
type Lineage [16]byte

func (l Lineage) String() string { return hex.EncodeToString(l[:]) }

// IsZero reports whether l is no lineage at all.
func (l Lineage) IsZero() bool { return l == Lineage{} }

// MarshalText implements encoding.TextMarshaler.
func (l Lineage) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *Lineage) UnmarshalText(b []byte) (err error) {
	*l, err = ParseLineage(string(b))
	return err
}

// ParseLineage reads the form that String writes: 32 hexadecimal digits.
func ParseLineage(s string) (l Lineage, err error) {
	if b, err := hex.DecodeString(s); err == nil && len(b) == len(l) {
		return Lineage(b), nil
	}
	return l, fmt.Errorf("%q is no lineage: expected 32 hexadecimal digits", s)
}

// Position is the only thing that says "where": a record of one history.
type Position struct {
	Lineage Lineage
	Epoch   uint64
	LSN     uint64
}

// String is the position's public form, <lineage>:<epoch>:<lsn>.
func (p Position) String() string {
	return p.Lineage.String() + ":" + strconv.FormatUint(p.Epoch, 10) + ":" + strconv.FormatUint(p.LSN, 10)
}

// ParsePosition reads the form that String writes.
func ParsePosition(s string) (p Position, err error) {
	parts := strings.Split(s, ":")
	if len(parts) != 3 {
		return p, fmt.Errorf("%q is no position: expected <lineage>:<epoch>:<lsn>", s)
	}
	lineage, err1 := ParseLineage(parts[0])
	epoch, err2 := strconv.ParseUint(parts[1], 10, 64)
	lsn, err3 := strconv.ParseUint(parts[2], 10, 64)
	if err := errors.Join(err1, err2, err3); err != nil {
		return p, fmt.Errorf("%q is no position: %w", s, err)
	}
	return Position{Lineage: lineage, Epoch: epoch, LSN: lsn}, nil
}

// Epoch numbers: term · 2²⁰ + start, under 2⁵³.
const epochStarts = 1 << 20

// EpochStart is a row of the epoch table: where an epoch begins, and the random
// bits that tell it from another epoch of the same number.
type EpochStart struct {
	Epoch    uint64 `json:"epoch"`
	FirstLSN uint64 `json:"first_lsn"`
	Bits     uint64 `json:"bits,string"`
}

// Version is the opaque version of a value: it changes with every write.
type Version string

func versionOf(v codec.Version) Version {
	return Version(strconv.FormatUint(v.Epoch, 16) + "-" + strconv.FormatUint(v.LSN, 16))
}
