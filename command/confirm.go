package command

import (
	"bufio"
	"errors"
	"flag"
	"io"
	"strings"
)

// yesFlag is of commands that destroy something: they ask first.
type yesFlag struct{ yes bool }

func (y *yesFlag) define(fs *flag.FlagSet) {
	fs.BoolVar(&y.yes, "yes", false, "Don't ask. Without a terminal to ask on the command does nothing unless this is given.")
}

// confirm says what will happen, and asks whether it may, unless -yes has said so. An
// error means that it may not.
func (m *Meta) confirm(y yesFlag, what string) error {
	if y.yes {
		return nil
	}
	if m.terminalWidth(m.stdin) == 0 {
		return usagef("%s\nThere is no terminal to ask on, so nothing was done: give -yes if that is what you want", what)
	}
	m.message("%s", what)
	m.prompt("Only \"yes\" goes on: ")
	answer, err := bufio.NewReader(m.stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return localf("read the answer: %w; nothing was done", causeOf(err))
	}
	if strings.TrimSpace(answer) != "yes" {
		return localf("nothing was done, for the answer was not \"yes\"")
	}
	return nil
}

// prompt tells the user something and stays on the line.
func (m *Meta) prompt(text string) {
	_, _ = io.WriteString(m.stderr, text) // nobody is left to tell
}
