package main

import (
	"maps"
	"slices"
	"sync"

	"github.com/eclipse/paho.golang/paho"

	"github.com/unisondb/unisondb/sdk/notifier"
)

// message is one PUBLISH of an event: most events have one, the end of a key that
// is retained has two, and a reset has one for each topic.
type message struct {
	topic    string
	payload  []byte
	retained bool
}

// overhead is more than what a PUBLISH has besides topic and payload, in bytes.
const overhead = 64

// size is the packet's at most, in bytes.
func (m message) size() int { return len(m.topic) + len(m.payload) + overhead }

// payloadFormat says that a payload is UTF-8, in MQTT's words.
var payloadFormat byte = 1

func (m message) packet(qos byte) *paho.Publish {
	p := &paho.Publish{QoS: qos, Retain: m.retained, Topic: m.topic, Payload: m.payload}
	if len(m.payload) > 0 {
		p.Properties = &paho.PublishProperties{ContentType: "application/json", PayloadFormat: &payloadFormat}
	}
	return p
}

// writer makes messages of events.
type writer struct {
	template template
	retain   bool

	mu    sync.Mutex
	types map[string]bool // entry types that have topics
}

func newWriter(s settings) *writer {
	return &writer{template: s.template, retain: s.Retain, types: map[string]bool{"kv": true, "row": true, "lob": true}}
}

// messages are an event's. An error means that it can never be published.
func (w *writer) messages(m notifier.Message) ([]message, error) {
	if m.Operation == notifier.Reset {
		return w.reset(m)
	}
	w.saw(m.EntryType)
	topic, err := w.template.topic(escape(m.Namespace), escape(m.EntryType), escape(m.Key), escape(string(m.Operation)))
	if err != nil {
		return nil, err
	}
	payload := m.AppendJSON(nil)
	switch {
	case w.retain && ends(m.Event):
		// Subscribers that are there hear of the end, and later ones find nothing.
		return []message{{topic: topic, payload: payload}, {topic: topic, retained: true}}, nil
	default:
		return []message{{topic: topic, payload: payload, retained: w.retain}}, nil
	}
}

// ends reports whether nothing of the key is left. Of a row, columns may be.
func ends(e notifier.Event) bool {
	switch e.Operation {
	case notifier.DeleteRow:
		return true
	case notifier.Delete, notifier.Expire:
		return len(e.Columns) == 0
	default:
		return false
	}
}

// reset has a message for each entry type's topic, and none is retained.
func (w *writer) reset(m notifier.Message) ([]message, error) {
	var all []message
	for _, entryType := range w.entryTypes() {
		topic, err := w.template.topic(escape(m.Namespace), escape(entryType), resetKey, escape(string(m.Operation)))
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(all, func(other message) bool { return other.topic == topic }) {
			continue // the template doesn't tell entry types apart
		}
		m.EntryType = entryType
		all = append(all, message{topic: topic, payload: m.AppendJSON(nil)})
	}
	return all, nil
}

func (w *writer) saw(entryType string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.types[entryType] = true
}

func (w *writer) entryTypes() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.types))
}
