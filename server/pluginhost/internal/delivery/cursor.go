package delivery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/unisondb/unisondb/dbkernel"
)

// Cursor says how far a notifier is in a namespace.
type Cursor struct {
	// Lineage, Epoch and LSN name the last record of which anything is settled;
	// LSN 0 is the place before the first. Bits are the random ones of that epoch: the same
	// number with other bits is another history.
	Lineage dbkernel.Lineage
	Epoch   uint64
	Bits    uint64
	LSN     uint64
	// Changes, unless it is 0, says that only that many changes of the record
	// are settled, from the first on.
	Changes int
	// Seen is the last record of which anything may have been sent, where that is later:
	// the notifier has more than is settled, some of which a cut of the history makes void.
	Seen Record
	// Snapshot is set while a snapshot is being sent: LSN is where the log goes on
	// behind it.
	Snapshot *SnapshotCursor
}

// Record names a record of a history.
type Record struct {
	Epoch uint64 `json:"epoch"`
	Bits  uint64 `json:"bits,string"`
	LSN   uint64 `json:"lsn"`
}

// SnapshotCursor says how far a snapshot is.
type SnapshotCursor struct {
	// From is where it goes on, as dbkernel's ChangePage.Next says; empty at its
	// beginning.
	From []byte `json:"from"`
}

// CursorStore keeps a notifier's cursor in one namespace. One caller at a time.
type CursorStore interface {
	// Load answers the cursor saved last; false where there is none.
	Load(ctx context.Context) (Cursor, bool, error)
	// Save makes the cursor durable. dbkernel.ErrReadOnly where this node isn't the
	// namespace's owner.
	Save(ctx context.Context, c Cursor) error
}

// Position is the last record that is settled as a whole. A record of which only
// a part is settled is never the first of its epoch, so the one before it has the same.
func (c Cursor) Position() dbkernel.Position {
	p := dbkernel.Position{Lineage: c.Lineage, Epoch: c.Epoch, LSN: c.LSN}
	if c.Changes > 0 {
		p.LSN--
	}
	return p
}

// record is the one that the cursor names.
func (c Cursor) record() Record { return Record{c.Epoch, c.Bits, c.LSN} }

// next is the record that is read next.
func (c Cursor) next() uint64 { return c.Position().LSN + 1 }

// settled reports whether a change lies behind the cursor already.
func (c Cursor) settled(ch dbkernel.Change) bool {
	if ch.LSN == c.LSN && c.Changes > 0 {
		return ch.Index < c.Changes
	}
	return ch.LSN <= c.LSN
}

// A cursor's bytes are one JSON object, the same in a cell and in a file. It ends
// with the CRC-32C of all bytes before that: a cursor that has changed on the disk would
// skip changes.
const (
	cursorMagic  = "unisondb-cursor"
	cursorFormat = 1
	sumField     = `,"crc32c":"%08x"}`
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type cursorJSON struct {
	Magic    string           `json:"magic"`
	Format   int              `json:"format"`
	Lineage  dbkernel.Lineage `json:"lineage"`
	Epoch    uint64           `json:"epoch"`
	Bits     uint64           `json:"bits,string"`
	LSN      uint64           `json:"lsn"`
	Changes  int              `json:"changes,omitempty"`
	Seen     *Record          `json:"seen,omitempty"`
	Snapshot *SnapshotCursor  `json:"snapshot,omitempty"`
}

func (c Cursor) encode() ([]byte, error) {
	j := cursorJSON{cursorMagic, cursorFormat, c.Lineage, c.Epoch, c.Bits, c.LSN, c.Changes, nil, c.Snapshot}
	if c.Seen.LSN > 0 {
		j.Seen = &c.Seen
	}
	b, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	return withSum(b), nil
}

// errDamaged: bytes aren't what was written.
var errDamaged = errors.New("damaged")

func decodeCursor(b []byte) (Cursor, error) {
	var j cursorJSON
	if err := json.Unmarshal(b, &j); err != nil || j.Magic != cursorMagic {
		return Cursor{}, fmt.Errorf("%w: it is no cursor", errDamaged)
	}
	if j.Format > cursorFormat {
		return Cursor{}, fmt.Errorf("%w: the cursor has format %d, this build reads up to %d: use a newer build", dbkernel.ErrNewerFormat, j.Format, cursorFormat)
	}
	if !sumFits(b) {
		return Cursor{}, fmt.Errorf("%w: the cursor doesn't have the checksum that it should", errDamaged)
	}
	c := Cursor{Lineage: j.Lineage, Epoch: j.Epoch, Bits: j.Bits, LSN: j.LSN, Changes: j.Changes, Snapshot: j.Snapshot}
	if j.Seen != nil {
		c.Seen = *j.Seen
	}
	return c, nil
}

// withSum puts a checksum at the end of a JSON object.
func withSum(object []byte) []byte {
	body := object[:len(object)-1]
	return fmt.Appendf(body, sumField, crc32.Checksum(body, castagnoli))
}

// sumFits reports whether a JSON object ends with its checksum.
func sumFits(object []byte) bool {
	at := strings.LastIndex(string(object), `,"crc32c":"`)
	return at >= 0 && string(object[at:]) == fmt.Sprintf(sumField, crc32.Checksum(object[:at], castagnoli))
}
