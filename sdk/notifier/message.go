package notifier

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"time"
	"unicode/utf8"
)

// Message is an event as receivers outside get it: what all notifiers that send
// JSON have in common.
type Message struct {
	Event
	Namespace string
	// Lineage is left out of the JSON where it is empty.
	Lineage string
	// TopicSeq counts the messages of a topic within a Run, where a receiver can't
	// see otherwise that it missed some. Both are left out where Run is empty.
	TopicSeq uint64
	Run      string
}

// Message is the i-th event of the batch as receivers get it.
func (b Batch) Message(i int) Message {
	return Message{Event: b.Events[i], Namespace: b.Namespace, Lineage: b.Lineage}
}

// ID is what identifies the event for ever within its namespace, so that a
// receiver can tell one that comes again: lineage:epoch:lsn:index.
func (m Message) ID() string {
	return fmt.Sprintf("%s:%d:%d:%d", m.Lineage, m.Epoch, m.LSN, m.Index)
}

// MarshalJSON implements json.Marshaler. Encoders escape <, > and & in what it
// returns unless they are told not to: AppendJSON doesn't.
func (m Message) MarshalJSON() ([]byte, error) { return m.AppendJSON(nil), nil }

// AppendJSON appends the message as a JSON object. A key that isn't valid UTF-8
// is key_base64; a reset, which has no key and no entry type, leaves them out.
func (m Message) AppendJSON(b []byte) []byte {
	b = append(b, '{')
	switch {
	case len(m.Key) == 0:
	case utf8.Valid(m.Key):
		b = appendString(append(b, `"key":`...), m.Key)
		b = append(b, ',')
	default:
		b = append(b, `"key_base64":"`...)
		b = base64.StdEncoding.AppendEncode(b, m.Key)
		b = append(b, `",`...)
	}
	b = appendString(append(b, `"namespace":`...), m.Namespace)
	b = appendString(append(b, `,"operation":`...), m.Operation)
	if m.EntryType != "" {
		b = appendString(append(b, `,"entry_type":`...), m.EntryType)
	}
	b = strconv.AppendUint(append(b, `,"seq_num":`...), m.LSN, 10)
	b = strconv.AppendUint(append(b, `,"lsn":`...), m.LSN, 10)
	b = strconv.AppendUint(append(b, `,"epoch":`...), m.Epoch, 10)
	b = strconv.AppendInt(append(b, `,"index":`...), int64(m.Index), 10)
	b = strconv.AppendInt(append(b, `,"count":`...), int64(m.Count), 10)
	if m.Lineage != "" {
		b = appendString(append(b, `,"lineage":`...), m.Lineage)
	}
	if m.Run != "" {
		b = strconv.AppendUint(append(b, `,"topic_seq":`...), m.TopicSeq, 10)
		b = appendString(append(b, `,"run":`...), m.Run)
	}
	b = m.Time.UTC().AppendFormat(append(b, `,"timestamp":"`...), time.RFC3339Nano)
	b = append(b, '"')
	if len(m.Columns) > 0 {
		b = append(b, `,"columns":[`...)
		for i, column := range m.Columns {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(b, column)
		}
		b = append(b, ']')
	}
	return append(b, '}')
}

const hex = "0123456789abcdef"

// appendString appends a JSON string as encoding/json writes it without escaping
// HTML: what isn't UTF-8 becomes U+FFFD, and the line separators that JavaScript
// doesn't take are escaped.
func appendString[T ~string | ~[]byte](b []byte, s T) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= ' ' && c != '"' && c != '\\' {
				i++
				continue
			}
			b = appendEscape(append(b, s[start:i]...), c)
			i++
			start = i
			continue
		}
		r, size := decodeRune(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			b = append(append(b, s[start:i]...), `\ufffd`...)
			start = i + size
		case r == '\u2028' || r == '\u2029':
			b = append(append(b, s[start:i]...), `\u202`...)
			b = append(b, hex[r&0xf])
			start = i + size
		}
		i += size
	}
	return append(append(b, s[start:]...), '"')
}

func decodeRune[T ~string | ~[]byte](s T) (rune, int) {
	var head [utf8.UTFMax]byte
	return utf8.DecodeRune(head[:copy(head[:], s)])
}

func appendEscape(b []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\b':
		return append(b, `\b`...)
	case '\f':
		return append(b, `\f`...)
	case '\n':
		return append(b, `\n`...)
	case '\r':
		return append(b, `\r`...)
	case '\t':
		return append(b, `\t`...)
	default:
		return append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
	}
}

// messageJSON is the fields of a message, in the order of AppendJSON, with what receivers make of them.
type messageJSON struct {
	Key       *string   `json:"key" doc:"The key, where it is valid UTF-8. A reset has none."`
	KeyBase64 []byte    `json:"key_base64" doc:"The key in standard base64, where it isn't valid UTF-8."`
	Namespace string    `json:"namespace" doc:"The namespace."`
	Operation Operation `json:"operation" doc:"What happened: put, delete, delete_row, expire, or reset, which says that the history was cut and that what was derived from earlier messages is to be read again."`
	EntryType string    `json:"entry_type" doc:"What the key is of: kv, row, lob, or the name of a data model. A reset has none."`
	SeqNum    uint64    `json:"seq_num" doc:"The same as lsn."`
	LSN       uint64    `json:"lsn" doc:"The record's number in the namespace's log. It rises and isn't contiguous."`
	Epoch     uint64    `json:"epoch" doc:"The epoch of the record. An LSN names one record within an epoch only."`
	Index     int       `json:"index" doc:"The change's place among those of its record, from 0."`
	Count     int       `json:"count" doc:"How many changes the record has. 0: the message is of a snapshot, and no record of its own."`
	Lineage   string    `json:"lineage" doc:"The namespace's lineage: another one is another namespace of that name. ZeroMQ leaves it out."`
	TopicSeq  uint64    `json:"topic_seq" doc:"ZeroMQ only: rises by one with each message on the topic within a run. A gap says that messages were lost."`
	Run       string    `json:"run" doc:"ZeroMQ only: names a start of the notifier; topic_seq begins at 1 in each."`
	Timestamp time.Time `json:"timestamp" doc:"When the record was written, by its owner's clock, in RFC 3339 and UTC."`
	Columns   []string  `json:"columns" doc:"Of a row: the columns that were put, deleted or expired. A delete_row has none."`
}

// MessageField is a field of a message's JSON.
type MessageField struct {
	Name        string
	Type        string // of JSON: string, number, list of strings
	Description string
}

// MessageFields describe the JSON of a message, in its order.
func MessageFields() []MessageField {
	t := reflect.TypeFor[messageJSON]()
	fields := make([]MessageField, t.NumField())
	for i := range fields {
		f := t.Field(i)
		fields[i] = MessageField{Name: f.Tag.Get("json"), Type: jsonType(f.Type), Description: f.Tag.Get("doc")}
	}
	return fields
}

func jsonType(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Uint64, reflect.Int:
		return "number"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.String {
			return "list of strings"
		}
	}
	return "string"
}

// UnmarshalJSON implements json.Unmarshaler, for receivers written in Go.
func (m *Message) UnmarshalJSON(b []byte) error {
	var in messageJSON
	if err := json.Unmarshal(b, &in); err != nil {
		return fmt.Errorf("read a notification: %w", err)
	}
	key := in.KeyBase64
	if in.Key != nil {
		key = []byte(*in.Key)
	}
	*m = Message{
		Event: Event{
			Key: key, Operation: in.Operation, EntryType: in.EntryType, LSN: in.LSN, Epoch: in.Epoch,
			Index: in.Index, Count: in.Count, Time: in.Timestamp, Columns: in.Columns,
		},
		Namespace: in.Namespace, Lineage: in.Lineage, TopicSeq: in.TopicSeq, Run: in.Run,
	}
	return nil
}
