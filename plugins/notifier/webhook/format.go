package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/unisondb/unisondb/sdk/notifier"
)

// format is how events are written into a request.
type format interface {
	contentType() string
	// event encodes one event of a batch.
	event(b notifier.Batch, i int) ([]byte, error)
	// body puts encoded events into a request.
	body(events [][]byte) []byte
}

var formats = map[string]format{"json": plain{}, "cloudevents": cloudEvents{}}

// plain is {"events":[…]}, each event as in all other notifications.
type plain struct{}

func (plain) contentType() string { return "application/json" }

func (plain) event(b notifier.Batch, i int) ([]byte, error) { return b.Message(i).AppendJSON(nil), nil }

func (plain) body(events [][]byte) []byte { return enclose(`{"events":[`, events, `]}`) }

// cloudEvents is the batched content mode of CloudEvents 1.0, with the plain
// event as the data of each.
type cloudEvents struct{}

// cloudEvent has the attributes that CloudEvents 1.0 knows.
type cloudEvent struct {
	SpecVersion     string          `json:"specversion"`
	ID              string          `json:"id"`
	Source          string          `json:"source"`
	Type            string          `json:"type"`
	Subject         string          `json:"subject,omitempty"`
	Time            time.Time       `json:"time"`
	DataContentType string          `json:"datacontenttype"`
	Data            json.RawMessage `json:"data"`
}

// eventTypes is in front of what happened: the name of the project, reversed, as
// the specification wants it.
const eventTypes = "com.github.unisondb."

func (cloudEvents) contentType() string { return "application/cloudevents-batch+json; charset=utf-8" }

func (cloudEvents) event(b notifier.Batch, i int) ([]byte, error) {
	data, err := plain{}.event(b, i)
	if err != nil {
		return nil, err
	}
	e := &b.Events[i]
	kind := eventTypes + string(e.Operation)
	if e.EntryType != "" {
		kind = eventTypes + e.EntryType + "." + string(e.Operation)
	}
	return json.Marshal(cloudEvent{
		SpecVersion: "1.0", ID: eventID(b, e), Source: "/unisondb/" + b.Namespace, Type: kind,
		Subject: subject(e.Key), Time: e.Time.UTC(), DataContentType: "application/json", Data: data,
	})
}

func (cloudEvents) body(events [][]byte) []byte { return enclose("[", events, "]") }

// eventID is what identifies an event for ever. A reset has no place in the log,
// and its time instead. The events of a snapshot have no place in their record, which
// several may share: there the key is part of it.
func eventID(b notifier.Batch, e *notifier.Event) string {
	switch space := b.Namespace + "/" + b.Lineage; {
	case e.Operation == notifier.Reset:
		return space + "/reset/" + e.Time.UTC().Format(time.RFC3339Nano)
	case e.Count == 0:
		return fmt.Sprintf("%s/%d/%d/%d/%s/%s", space, e.Epoch, e.LSN, e.Index, e.EntryType, base64.RawURLEncoding.EncodeToString(e.Key))
	default:
		return fmt.Sprintf("%s/%d/%d/%d", space, e.Epoch, e.LSN, e.Index)
	}
}

// subject is the key, where CloudEvents allow it in a string; the data have it in any case.
func subject(key []byte) string {
	s := string(key)
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || isNoncharacter(r) }) {
		return ""
	}
	return s
}

// isNoncharacter reports whether Unicode keeps a code point free for ever.
func isNoncharacter(r rune) bool { return r&0xfffe == 0xfffe || r >= 0xfdd0 && r <= 0xfdef }

func enclose(head string, events [][]byte, tail string) []byte {
	size := len(head) + len(tail) + len(events)
	for _, e := range events {
		size += len(e)
	}
	var b bytes.Buffer
	b.Grow(size)
	b.WriteString(head)
	for i, e := range events {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(e)
	}
	b.WriteString(tail)
	return b.Bytes()
}
