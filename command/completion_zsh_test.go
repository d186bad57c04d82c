package command

import "testing"

// TestCompletionZsh has zsh read the script: its own completion needs a terminal.
func TestCompletionZsh(t *testing.T) {
	runShell(t, t.TempDir(), nil, "zsh", "-f", "-n", script(t, "zsh"))
}
