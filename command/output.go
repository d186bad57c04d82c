package command

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/unisondb/unisondb/sdk/client"
)

// printJSON prints v, indented, to standard output.
func (m *Meta) printJSON(v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return localf("encode the answer: %w", err)
	}
	return m.print(append(b, '\n'))
}

// print writes data to standard output.
func (m *Meta) print(b []byte) error {
	if _, err := m.stdout.Write(b); err != nil {
		return localf("write to standard output: %w", causeOf(err))
	}
	return nil
}

// written reports a write: its position, in JSON on standard output, otherwise as
// a message.
func (m *Meta) written(verb string, key []byte, p client.Position) error {
	if m.asJSON {
		return m.printJSON(struct {
			jsonKey
			Success  bool            `json:"success"`
			Position client.Position `json:"position"`
		}{newJSONKey(key), true, p})
	}
	m.message("%s %s at position %s.", verb, quoted(key), p)
	return nil
}

// jsonKey is a key in JSON: text, or base64 where it is no text.
type jsonKey struct {
	Key       *string `json:"key,omitempty"`
	KeyBase64 []byte  `json:"key_base64,omitempty"`
}

func newJSONKey(key []byte) jsonKey {
	if !utf8.Valid(key) {
		return jsonKey{KeyBase64: key}
	}
	s := string(key)
	return jsonKey{Key: &s}
}

// jsonTime leaves the zero time out of JSON.
func jsonTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// readable shows bytes on one line: as they are where they are plain text,
// otherwise quoted and escaped, so that nothing in them reaches the terminal.
func readable(b []byte) string {
	s := string(b)
	plain := utf8.Valid(b) && s != "" && s[0] != '"' && strings.TrimSpace(s) == s
	for _, r := range s {
		plain = plain && unicode.IsPrint(r)
	}
	if plain {
		return s
	}
	return strconv.Quote(s)
}

// maxCell is how many bytes of a value a list for people shows.
const maxCell = 100

// shortened is readable, cut where it is long; then it says how long the whole is.
func shortened(b []byte) string {
	if len(b) <= maxCell {
		return readable(b)
	}
	end := maxCell
	for end > maxCell-utf8.UTFMax && !utf8.RuneStart(b[end]) {
		end--
	}
	return readable(b[:end]) + "… (" + formatBytes(int64(len(b))) + ")"
}

func quoted(b []byte) string { return strconv.Quote(string(b)) }

// formatBytes shows a size for people.
func formatBytes(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/1024, 0
	for value >= 1024 && unit < len(units)-1 {
		value /= 1024
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", value, units[unit])
}

// formatExpiry shows an expiry for people.
func formatExpiry(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format(time.RFC3339)
}

// tableBatch is how many lines of a table are aligned together. A list of any
// length is printed as it arrives.
const tableBatch = 1000

// list prints a list as it arrives: a JSON array, or a table.
type list struct {
	out   *bufio.Writer
	json  bool
	table *tabwriter.Writer
	count int
}

// newList begins a list. Without columns a line is all there is to an item.
func (m *Meta) newList(columns ...string) *list {
	out := bufio.NewWriter(m.stdout)
	l := &list{out: out, json: m.asJSON, table: tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)}
	if !l.json && len(columns) > 0 {
		l.row(columns...)
	}
	return l
}

// add prints an item in the form that was asked for. Errors of writing show at
// close.
func (l *list) add(item any, cells ...string) error {
	l.count++
	if !l.json {
		l.row(cells...)
		if l.count%tableBatch == 0 {
			return outputError(errors.Join(l.table.Flush(), l.out.Flush()))
		}
		return nil
	}
	b, err := json.Marshal(item)
	if err != nil {
		return localf("encode the answer: %w", err)
	}
	separator := ",\n  "
	if l.count == 1 {
		separator = "[\n  "
	}
	_, err = l.out.WriteString(separator + string(b))
	return outputError(err)
}

// row buffers a line of the table.
func (l *list) row(cells ...string) {
	_, _ = io.WriteString(l.table, strings.Join(cells, "\t")+"\n") // Flush tells
}

// close ends the list. After an error the JSON stays open, so that nobody takes
// it for the whole.
func (l *list) close(err error) error {
	if l.json && err == nil {
		end := "\n]\n"
		if l.count == 0 {
			end = "[]\n"
		}
		_, err = l.out.WriteString(end)
		err = outputError(err)
	}
	if flushErr := outputError(errors.Join(l.table.Flush(), l.out.Flush())); err == nil {
		err = flushErr
	}
	return err
}

func outputError(err error) error {
	if err == nil {
		return nil
	}
	return localf("write to standard output: %w", causeOf(err))
}

// properties prints names and values, one pair a line.
func (m *Meta) properties(pairs ...string) error {
	l := m.newList()
	for i := 0; i+1 < len(pairs); i += 2 {
		l.row(pairs[i]+":", pairs[i+1])
	}
	return l.close(nil)
}
