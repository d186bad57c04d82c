package command

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// envAsProgram has the test's own binary be the program, which completion scripts call.
const envAsProgram = "UNISONDB_TEST_AS_PROGRAM"

// asProgram runs the command line in place of the tests.
func asProgram() int {
	return Run(Process{Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Env: os.LookupEnv})
}

// script is a completion script in a file.
func script(t *testing.T, shell string) string {
	t.Helper()
	got := newHarness(t, success).run("completion", shell)
	if got.status != exitDone || got.stderr != "" {
		t.Fatalf("status %d, %s", got.status, got.stderr)
	}
	return file(t, got.stdout)
}

// programFolder is a folder in which "unisondb" is this test's binary.
func programFolder(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(self, filepath.Join(dir, Name)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// runShell runs a shell in a directory, with the program first on its PATH, and returns what it prints.
func runShell(t *testing.T, dir string, env []string, shell string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(shell)
	if err != nil {
		t.Skipf("there is no %s here", shell)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Dir = dir
	cmd.Env = append([]string{"GORACE=atexit_sleep_ms=0", "PATH=" + programFolder(t) + ":" + os.Getenv("PATH"), "HOME=" + dir, envAsProgram + "=1"}, env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// bashWords splits a command line as bash does for a completion: at its own breaks, too.
func bashWords(line string) []string {
	var words []string
	word, inBreaks := "", false
	end := func() {
		if word != "" {
			words = append(words, word)
		}
		word = ""
	}
	for _, c := range line {
		isBreak := strings.ContainsRune("=:@", c)
		if c == ' ' || isBreak != inBreaks {
			end()
		}
		if inBreaks = isBreak; c != ' ' {
			word += string(c)
		}
	}
	end()
	if strings.HasSuffix(line, " ") {
		words = append(words, "")
	}
	return words
}

func TestCompletionBash(t *testing.T) {
	h := newHarness(t, answer(200, `[{"name":"default"},{"name":"inventory"}]`))
	dir, completions := t.TempDir(), script(t, "bash")
	for _, name := range []string{"film one.mp4", "film.mp4", "hub.hcl"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		line string
		want []string // of what bash inserts
	}{
		{"unisondb comp", []string{"completion"}},
		{"unisondb kv ", []string{"delete", "get", "list", "put"}},
		{"unisondb kv get -names", []string{"-namespace="}},
		{"unisondb kv get -namespace=inv", []string{"inventory"}}, // behind the break
		{"unisondb kv get -namespace=", []string{"default", "inventory"}},
		{"unisondb kv get -address=" + h.env[envAddress] + " -namespace d", []string{"default"}},
		{"unisondb config validate -role=", []string{"hub", "relayer"}},
		{"unisondb  config   validate h", []string{"hub.hcl"}},
		{"unisondb server -config=h", []string{"hub.hcl"}},
		{"unisondb lob put film fi", []string{"film one.mp4", "film.mp4"}},
		{"unisondb kv put film @film", []string{"@film.mp4", `@film\ one.mp4`}},
		{"unisondb kv get key ", nil},
		{"unisondb operator plugin dead-letters ", []string{"list", "retry"}},
	} {
		t.Run(tt.line, func(t *testing.T) {
			words := bashWords(tt.line)
			var quoted []string
			for _, w := range words {
				quoted = append(quoted, "'"+w+"'")
			}
			got := runShell(t, dir, []string{envAddress + "=" + h.env[envAddress]}, "bash", "--norc", "-euc", fmt.Sprintf(
				"COMP_WORDBREAKS=$' \\t\\n\"'\"'\"'><=;|&(:@'\n. %s\ncomplete -p unisondb >/dev/null\nCOMP_LINE='%s' COMP_POINT=%d COMP_CWORD=%d COMP_WORDS=(%s)\n_unisondb\nprintf '%%s\\n' ${COMPREPLY[@]+\"${COMPREPLY[@]}\"}",
				completions, tt.line, len(tt.line), len(words)-1, strings.Join(quoted, " ")))
			lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
			if slices.Sort(lines); strings.Join(lines, "\n") != strings.Join(tt.want, "\n") && !(len(tt.want) == 0 && strings.HasPrefix(lines[0], "-")) {
				t.Errorf("bash inserts %q, want %q", lines, tt.want)
			}
		})
	}
}

// TestBashCompletionIsFound by bash itself, for the name of the program.
func TestBashCompletionIsFound(t *testing.T) {
	if out := runShell(t, t.TempDir(), nil, "bash", "--norc", "-euc", ". "+script(t, "bash")+"; complete -p unisondb"); !strings.Contains(out, "-F _unisondb unisondb") {
		t.Errorf("bash says %q", out)
	}
}
