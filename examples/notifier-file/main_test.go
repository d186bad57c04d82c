package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/unisondb/unisondb/sdk/notifier"
	"github.com/unisondb/unisondb/sdk/sdktest"
)

func TestNotifier(t *testing.T) {
	var path string
	sdktest.Notifier(t, func(*testing.T) notifier.Program { return program() }, sdktest.NotifierOptions{
		Config: func(t *testing.T) map[string]any {
			path = filepath.Join(t.TempDir(), "changes.jsonl")
			return map[string]any{"path": path}
		},
		BadConfigs: []sdktest.BadConfig{
			{Name: "no path", Config: map[string]any{}, Path: "path"},
			{Name: "a path that can't be", Config: map[string]any{"path": "/dev/null/file"}, Path: "path"},
			{Name: "a word for a bool", Config: map[string]any{"path": "x", "sync": "yes"}, Path: "sync"},
		},
		Received: func(t *testing.T) []notifier.Message { return read(t, path) },
	})
}

// read gives what is in the file.
func read(t *testing.T, path string) []notifier.Message {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var messages []notifier.Message
	for line := range bytes.Lines(b) {
		var m notifier.Message
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatal(err)
		}
		messages = append(messages, m)
	}
	return messages
}
