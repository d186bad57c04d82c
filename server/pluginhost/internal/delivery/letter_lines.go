package delivery

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/sdk/notifier"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// The file of dead letters is JSON lines. The first is a header, each other one a
// letter; each ends with its own CRC-32C. The header keeps the ids going where the letters that had
// the last ones are gone.
const (
	lettersMagic  = "unisondb-dead-letters"
	lettersFormat = 1
)

type headerJSON struct {
	Magic  string `json:"magic"`
	Format int    `json:"format"`
	Next   uint64 `json:"next,string"` // the id of the next letter, if none below has it
}

type letterJSON struct {
	ID       uint64           `json:"id,string"`
	Reason   string           `json:"reason"`
	Refusals int              `json:"refusals"`
	First    time.Time        `json:"first"`
	Last     time.Time        `json:"last"`
	Event    notifier.Message `json:"event"`
}

func header(next uint64) ([]byte, error) {
	return encodeLine(headerJSON{lettersMagic, lettersFormat, next})
}

func encodeLine(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return append(withSum(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), '\n'), nil
}

// encode is the letter's line.
func (l letter) encode() ([]byte, error) {
	return encodeLine(letterJSON{
		ID: l.id, Reason: l.reason, Refusals: l.refusals, First: l.first.UTC(), Last: l.last.UTC(), Event: l.notification(),
	})
}

func (l letter) notification() notifier.Message {
	r := pluginv1.NotifyRequest{Namespace: l.namespace, Lineage: l.lineage, Events: []*pluginv1.Event{l.event}}
	return notifier.BatchOf(&r).Message(0)
}

func (l letter) message() json.RawMessage { return l.notification().AppendJSON(nil) }

func decodeLetter(line []byte) (letter, error) {
	var j letterJSON
	if !sumFits(line) {
		return letter{}, fmt.Errorf("%w: a line doesn't have the checksum that it should", errDamaged)
	}
	if err := json.Unmarshal(line, &j); err != nil {
		return letter{}, fmt.Errorf("%w: %w", errDamaged, err)
	}
	e := j.Event
	return letter{
		id: j.ID, namespace: e.Namespace, lineage: e.Lineage, reason: j.Reason, refusals: j.Refusals, first: j.First, last: j.Last,
		event: &pluginv1.Event{
			Key: e.Key, Operation: operationNamed(e.Operation), EntryType: e.EntryType, Lsn: e.LSN, Epoch: e.Epoch,
			Index: uint32(e.Index), Count: uint32(e.Count), TimeUnixNano: e.Time.UnixNano(), Columns: e.Columns,
		},
	}, nil
}

func operationNamed(op notifier.Operation) pluginv1.Operation {
	if op == notifier.Reset {
		return pluginv1.Operation_OPERATION_RESET
	}
	return operationOf(dbkernel.Operation(op))
}

// contents is what a file of dead letters holds.
type contents struct {
	next    uint64
	letters []letter
	lines   [][]byte // theirs, without line feeds
	size    int64    // of all that counts
	damaged bool     // some whole lines can't be read
}

// parseLetters reads a file. An error where it has a newer format.
func parseLetters(b []byte) (contents, error) {
	c := contents{next: 1}
	for first := true; len(b) > 0; first = false {
		line, rest, whole := bytes.Cut(b, []byte("\n"))
		size := int64(len(b) - len(rest))
		b = rest
		if !whole {
			c.damaged = c.damaged || first // it is never written alone
			break                          // torn
		}
		if first {
			if err := c.parseHeader(line); err != nil {
				return c, err
			}
			c.size = size
			continue
		}
		l, err := decodeLetter(line)
		if err != nil {
			c.damaged = true
			continue
		}
		c.letters, c.lines = append(c.letters, l), append(c.lines, line)
		c.size += size
		c.next = max(c.next, l.id+1)
	}
	return c, nil
}

func (c *contents) parseHeader(line []byte) error {
	var h headerJSON
	err := json.Unmarshal(line, &h)
	switch {
	case err == nil && h.Magic == lettersMagic && h.Format > lettersFormat:
		return fmt.Errorf("%w: the file has format %d, this build reads up to %d: use a newer build", dbkernel.ErrNewerFormat, h.Format, lettersFormat)
	case err != nil || h.Magic != lettersMagic || !sumFits(line):
		c.damaged = true
	default:
		c.next = max(c.next, h.Next)
	}
	return nil
}
