package main

import (
	"strings"
	"testing"

	"github.com/unisondb/unisondb/sdk/plugin"
)

// TestProblems name the argument, say what to do, and repeat no secret.
func TestProblems(t *testing.T) {
	with := func(more map[string]any) map[string]any {
		all := map[string]any{"url": "https://example.com/hook"}
		for name, value := range more {
			all[name] = value
		}
		return all
	}
	for _, c := range []struct {
		name   string
		config map[string]any
		want   []string // paths
	}{
		{"right", with(map[string]any{"secret": "hunter2", "headers": map[string]any{"X-A": "hunter2\tb"}, "max_bytes": "64KiB", "format": "cloudevents"}), nil},
		{"no URL", map[string]any{}, []string{"url"}},
		{"an empty URL", map[string]any{"url": ""}, []string{"url"}},
		{"no scheme", map[string]any{"url": "example.com/hunter2"}, []string{"url"}},
		{"another scheme", map[string]any{"url": "ftp://hunter2@example.com"}, []string{"url"}},
		{"no host", map[string]any{"url": "https:///hunter2"}, []string{"url"}},
		{"no host, but a port", map[string]any{"url": "https://:443/hunter2"}, []string{"url"}},
		{"no URL at all", map[string]any{"url": "https://hunter2\x7f/"}, []string{"url"}},
		{"a slip", with(map[string]any{"sceret": "hunter2"}), []string{"sceret"}},
		{"a secret without a successor", with(map[string]any{"previous_secret": "hunter2"}), []string{"previous_secret"}},
		{"an unknown format", with(map[string]any{"format": "xml"}), []string{"format"}},
		{"bounds", with(map[string]any{"max_in_flight": 0, "max_events": 0, "timeout": "0s"}), []string{"timeout", "max_in_flight", "max_events"}},
		{"no room", with(map[string]any{"max_bytes": "0B"}), []string{"max_bytes"}},
		{"several at once", with(map[string]any{"url": "nowhere", "previous_secret": "hunter2", "headers": map[string]any{"a b": "hunter2", "Host": "hunter2", "X-A": "hunter2\r\nX-B: c", "content-type": "hunter2", "x-unisondb-signature": "hunter2"}}),
			[]string{"url", "previous_secret", "headers", "headers", "headers", "headers", "headers"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			config, err := plugin.NewConfig("x", c.config)
			if err != nil {
				t.Fatal(err)
			}
			w := &webhook{}
			err = w.Configure(t.Context(), config)
			if len(c.want) == 0 {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			problems, ok := err.(plugin.Problems)
			if !ok {
				t.Fatalf("%v isn't a list of problems", err)
			}
			var paths []string
			for _, p := range problems {
				paths = append(paths, p.Path)
			}
			if got, want := strings.Join(paths, " "), strings.Join(c.want, " "); got != want {
				t.Errorf("problems are at %s, expected at %s: %v", got, want, problems)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("a secret is repeated: %v", err)
			}
		})
	}
}
