package docs

import (
	"bytes"
	_ "embed" // the prelude
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

//go:embed prelude.bash
var prelude string

// script is a page as a program of bash. What stands on a line of the page stands on the same line of
// the program, so that bash's messages have the page's line numbers.
type script struct {
	lines []string
	files map[string]string // what the program needs beside it, by name
	// outputs are the blocks that show what was printed, by the name of the file that has it.
	outputs map[string]*Block
}

// outputFile has what the block at a line prints, lastFile what its last command does.
func outputFile(line int) string { return fmt.Sprintf("out.%d", line) }
func lastFile(line int) string   { return fmt.Sprintf("last.%d", line) }

func terminalFile(name string) string { return "terminal." + name }

// newScript makes the program of a page.
func newScript(p *Page) (*script, error) {
	s := &script{
		lines: make([]string, p.Lines+1), // by line number
		files: map[string]string{"prelude.bash": prelude}, outputs: map[string]*Block{},
	}
	// The line before the first says how far the page has come.
	s.lines[0] = `trap 'echo $LINENO >"$__state/line"' DEBUG`
	expected := expectations(p)
	runs := 0
	for _, item := range p.Items {
		switch it := item.(type) {
		case *Directive:
			name := ""
			if it.Name == "run" {
				runs++
				name = "run" + strconv.Itoa(runs)
			}
			s.directive(it, name)
		case *Block:
			if err := s.block(it, expected[it]); err != nil {
				return nil, fmt.Errorf("%s:%d: %w", p.Path, it.Line, err)
			}
		}
	}
	return s, nil
}

// expectations are the blocks of text or JSON that show what the block in front of them prints.
func expectations(p *Page) map[*Block]*Block {
	expected := map[*Block]*Block{}
	for _, b := range p.Blocks() {
		if (b.Is("text") || b.Is("json")) && b.Behind != nil {
			expected[b.Behind] = b
		}
	}
	return expected
}

func (s *script) directive(d *Directive, name string) {
	switch d.Name {
	case "run":
		s.lines[d.Line] = "__start " + quote(name) + " " + quote(d.Arg)
	case "until":
		s.lines[d.Line] = "__until " + quote(d.Arg)
	case "interrupt":
		s.lines[d.Line] = "__signal " + quote(d.Arg) + " INT"
	case "kill":
		s.lines[d.Line] = "__signal " + quote(d.Arg) + " KILL"
	case "do":
		s.lines[d.Line] = d.Arg
	}
}

func (s *script) block(b, shown *Block) error {
	if b.Language == "hcl" && b.Title != "" {
		name := fmt.Sprintf("file.%d", b.Line)
		s.files[name] = b.Text
		s.lines[b.Line] = fmt.Sprintf(`cp "$__state/%s" "$__page"/%s`, name, quote(b.Title))
		return nil
	}
	if terminal, ok := b.Terminal(); ok {
		return s.terminal(terminal, b, shown)
	}
	if !b.Is("sh") {
		return nil
	}
	s.lines[b.Line] = fmt.Sprintf(`exec >>"$__state/%s" 2>&1`, outputFile(b.Line))
	lines := strings.Split(strings.TrimSuffix(b.Text, "\n"), "\n")
	if shown != nil {
		last, err := lastCommand(lines)
		if err != nil {
			return err
		}
		lines[last] = fmt.Sprintf(`exec >>"$__state/%s" 2>&1; %s`, lastFile(b.Line), lines[last])
		s.outputs[lastFile(b.Line)] = shown
	}
	copy(s.lines[b.Line+1:], lines)
	return nil
}

// terminal starts what a reader runs in a terminal. What it has printed is looked at in the end, and
// starts anew with the terminal.
func (s *script) terminal(name string, b, shown *Block) error {
	if !filepath.IsLocal(name) || strings.Contains(name, "/") {
		return fmt.Errorf("%q is no name of a terminal", name)
	}
	if above := s.outputs[terminalFile(name)]; above != nil {
		return fmt.Errorf("what the terminal %s prints is shown on line %d: name another one here", name, above.Line)
	}
	s.lines[b.Line] = "__start " + quote(name) + " " + quoteMultiline(b.Text)
	if shown != nil {
		s.outputs[terminalFile(name)] = shown
	}
	return nil
}

// text is the program. Its first line has the trap and the page's first line, which is
// never one of a block's commands.
func (s *script) text() string {
	first := s.lines[0] + "; " + s.lines[1]
	return strings.Join(append([]string{first}, s.lines[2:]...), "\n") + "\n"
}

// lastCommand is the line on which the last command of a block begins. What a whole command is,
// bash says: lines are added until it takes them.
func lastCommand(lines []string) (int, error) {
	last, start := -1, 0
	for i := range lines {
		text := strings.Join(lines[start:i+1], "\n") + "\n"
		if strings.HasSuffix(text, "\\\n") || !completes(text) {
			continue
		}
		if slices.ContainsFunc(lines[start:i+1], isCommand) {
			last = start
		}
		start = i + 1
	}
	if last < 0 {
		return 0, fmt.Errorf("there is no whole command")
	}
	return last, nil
}

// isCommand says whether a line is more than a comment.
func isCommand(line string) bool {
	line = strings.TrimSpace(line)
	return line != "" && !strings.HasPrefix(line, "#")
}

// completes says whether bash takes a text as it is, without a complaint: it warns of here-documents
// that don't end.
func completes(text string) bool {
	out, err := checkShell(text)
	return err == nil && len(out) == 0
}

// checkShell has bash read a text without running it.
func checkShell(text string) ([]byte, error) {
	cmd := exec.Command("bash", "-n")
	cmd.Stdin = strings.NewReader(text)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.Bytes(), err
}

// quote makes a word of the shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// quoteMultiline does so on one line.
func quoteMultiline(s string) string {
	return "$" + "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", `\n`, "\t", `\t`).Replace(s) + "'"
}
