package notifier_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/unisondb/unisondb/sdk/notifier"
)

var at = time.Date(2026, 11, 22, 8, 9, 10, 123456789, time.FixedZone("", 3600))

func message() notifier.Message {
	b := notifier.Batch{Namespace: "default", Lineage: "abc", Events: []notifier.Event{{
		Key: []byte("user:1"), Operation: notifier.Put, EntryType: "kv",
		LSN: 42, Epoch: 1048576, Index: 0, Count: 1, Time: at,
	}}}
	return b.Message(0)
}

func TestMessageJSON(t *testing.T) {
	change := func(f func(*notifier.Message)) notifier.Message {
		m := message()
		f(&m)
		return m
	}
	for name, c := range map[string]struct {
		m    notifier.Message
		want string
	}{
		"kv": {message(), `{"key":"user:1","namespace":"default","operation":"put","entry_type":"kv","seq_num":42,"lsn":42,"epoch":1048576,"index":0,"count":1,"lineage":"abc","timestamp":"2026-11-22T07:09:10.123456789Z"}`},
		"zeromq": {
			change(func(m *notifier.Message) { m.Lineage, m.TopicSeq, m.Run = "", 17, "r" }),
			`{"key":"user:1","namespace":"default","operation":"put","entry_type":"kv","seq_num":42,"lsn":42,"epoch":1048576,"index":0,"count":1,"topic_seq":17,"run":"r","timestamp":"2026-11-22T07:09:10.123456789Z"}`,
		},
		"no text": {
			change(func(m *notifier.Message) { m.Key = []byte("\xff\x00") }),
			`{"key_base64":"/wA=","namespace":"default","operation":"put","entry_type":"kv","seq_num":42,"lsn":42,"epoch":1048576,"index":0,"count":1,"lineage":"abc","timestamp":"2026-11-22T07:09:10.123456789Z"}`,
		},
		"row": {
			change(func(m *notifier.Message) {
				m.Key, m.EntryType, m.Columns = []byte("<&>\x00\n\"\\"), "row", []string{"a", "ü\u2028"}
			}),
			`{"key":"<&>\u0000\n\"\\","namespace":"default","operation":"put","entry_type":"row","seq_num":42,"lsn":42,"epoch":1048576,"index":0,"count":1,"lineage":"abc","timestamp":"2026-11-22T07:09:10.123456789Z","columns":["a","ü\u2028"]}`,
		},
		"reset": {
			change(func(m *notifier.Message) {
				m.Event = notifier.Event{Operation: notifier.Reset, LSN: 7, Time: time.Unix(0, 0)}
			}),
			`{"namespace":"default","operation":"reset","seq_num":7,"lsn":7,"epoch":0,"index":0,"count":0,"lineage":"abc","timestamp":"1970-01-01T00:00:00Z"}`,
		},
	} {
		if got := string(c.m.AppendJSON(nil)); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, c.want)
		}
		if got := string(c.m.AppendJSON([]byte("x"))); got != "x"+c.want {
			t.Errorf("%s: it doesn't append", name)
		}
		checkRoundTrip(t, c.m)
	}
}

// checkRoundTrip compares with what encoding/json reads and writes.
func checkRoundTrip(t *testing.T, m notifier.Message) {
	t.Helper()
	mine := m.AppendJSON(nil)
	var back notifier.Message
	if err := json.Unmarshal(mine, &back); err != nil {
		t.Fatalf("%v: %s", err, mine)
	}
	m.Time, back.Time = m.Time.UTC(), back.Time.UTC()
	if len(m.Key) == 0 {
		m.Key = nil
	}
	if !reflect.DeepEqual(back, m) {
		t.Errorf("got  %+v\nwant %+v", back, m)
	}
	for _, text := range append([]string{string(m.Key), m.Namespace, m.EntryType}, m.Columns...) {
		var std bytes.Buffer
		e := json.NewEncoder(&std)
		e.SetEscapeHTML(false)
		if err := e.Encode(text); err != nil {
			t.Fatal(err)
		}
		if utf8.ValidString(text) && text != "" && !strings.Contains(string(mine), strings.TrimSpace(std.String())) {
			t.Errorf("%q is written otherwise than by encoding/json (%s): %s", text, std.String(), mine)
		}
	}
}

func TestMessageID(t *testing.T) {
	m := message()
	m.Index = 3
	if got := m.ID(); got != "abc:1048576:42:3" {
		t.Errorf("the ID is %q", got)
	}
}

func FuzzMessageJSON(f *testing.F) {
	f.Add([]byte("key"), "column", uint64(1), 2, int64(3))
	f.Add([]byte("\xff\x7f"), "\x00\b\f\n\r\t\x1f\u2028\u2029<>&\"\\/", uint64(1<<53), -1, int64(-1))
	f.Fuzz(func(t *testing.T, key []byte, column string, lsn uint64, index int, nanos int64) {
		m := notifier.Message{Namespace: "n", Lineage: "l", Event: notifier.Event{
			Key: key, Operation: notifier.Put, EntryType: "row", LSN: lsn, Epoch: lsn / 2, Index: index, Count: index,
			Time: time.Unix(0, nanos).UTC(), Columns: []string{strings.ToValidUTF8(column, "\ufffd"), "b"},
		}}
		checkRoundTrip(t, m)
		m.Columns[0] = column
		if b := m.AppendJSON(nil); !json.Valid(b) || !utf8.Valid(b) {
			t.Errorf("no JSON: %q", b)
		}
	})
}

func BenchmarkMessageJSON(b *testing.B) {
	m := message()
	var buffer []byte
	b.ReportAllocs()
	for b.Loop() {
		buffer = m.AppendJSON(buffer[:0])
	}
	b.SetBytes(int64(len(buffer)))
}
