package command

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestCompletionFish asks fish what it would offer.
func TestCompletionFish(t *testing.T) {
	h := newHarness(t, answer(200, `[{"name":"default"},{"name":"inventory"}]`))
	dir, completions := t.TempDir(), script(t, "fish")
	if err := os.WriteFile(filepath.Join(dir, "hub.hcl"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"unisondb comp":                          "completion\tHave the shell complete this program's commands",
		"unisondb kv get -namespace=inv":         "-namespace=inventory",
		"unisondb config validate -role=":        "-role=hub -role=relayer",
		"unisondb config validate h":             "hub.hcl",
		"unisondb server -config=h":              "-config=hub.hcl",
		"unisondb operator plugin dead-letters ": "list\tList a notifier's dead letters retry\tSend a notifier's dead letters again",
	} {
		out := runShell(t, dir, []string{envAddress + "=" + h.env[envAddress]}, "fish", "--no-config", "-c", "source "+completions+"; complete -C '"+line+"'")
		lines := strings.Split(strings.TrimSpace(out), "\n")
		slices.Sort(lines)
		if got := strings.Join(lines, " "); strings.TrimSpace(got) != want {
			t.Errorf("%s: fish offers %q, want %q", line, got, want)
		}
	}
}
