package notifier_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/unisondb/unisondb/sdk/notifier"
)

// TestMessageFields: the fields that are described are those that a message has.
func TestMessageFields(t *testing.T) {
	m := notifier.Message{
		Event: notifier.Event{
			Key: []byte("user:1"), Operation: notifier.Delete, EntryType: "row", LSN: 42, Epoch: 1, Index: 0, Count: 1,
			Time: time.Unix(1, 0), Columns: []string{"name"},
		},
		Namespace: "orders", Lineage: "00", TopicSeq: 17, Run: "8a",
	}
	written := map[string]any{}
	for _, key := range []string{"user:1", "\xff"} {
		m.Key = []byte(key)
		if err := json.Unmarshal(m.AppendJSON(nil), &written); err != nil {
			t.Fatal(err)
		}
	}
	var described []string
	for _, f := range notifier.MessageFields() {
		described = append(described, f.Name)
		if !strings.HasSuffix(f.Description, ".") {
			t.Errorf("%s: %q is no description", f.Name, f.Description)
		}
		types := map[string]bool{"string": false, "number": false, "list of strings": false}
		switch written[f.Name].(type) {
		case string:
			types["string"] = true
		case float64:
			types["number"] = true
		case []any:
			types["list of strings"] = true
		}
		if !types[f.Type] {
			t.Errorf("%s is described as a %s, and is %v", f.Name, f.Type, written[f.Name])
		}
	}
	slices.Sort(described)
	if names := slices.Sorted(maps.Keys(written)); !slices.Equal(names, described) {
		t.Errorf("a message has %v, and %v are described", names, described)
	}
}
