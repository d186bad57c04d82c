package command

import (
	"errors"
	"fmt"
	"io"

	"github.com/hashicorp/cli"
)

// Check says whether the program would take a command line: args are what follows its name. The command
// has to be there, its flags have to parse and its arguments have to be as many as it takes. Nothing is run, so
// that documentation can be held against the program.
func Check(args []string) error {
	if len(args) == 0 {
		return errors.New("a command is missing")
	}
	m := newMeta(Process{Stdout: io.Discard, Stderr: io.Discard, Env: func(string) (string, bool) { return "", false }})
	c := &cli.CLI{Name: Name, Args: helpAsFlag(args), Commands: m.commands(), HelpWriter: io.Discard, ErrorWriter: io.Discard}
	if problem := misused(c, args); problem != "" {
		return errors.New(problem)
	}
	name := c.Subcommand()
	if c.IsVersion() || c.IsHelp() {
		return nil
	}
	newLeaf, ok := leaves[name]
	if !ok {
		return fmt.Errorf("%s %s needs a command of its own", Name, name)
	}
	l := &leafCommand{Meta: m, name: name, leaf: newLeaf(m)}
	rest, err := parse(l.flagSet(), c.SubcommandArgs())
	if err != nil {
		return err
	}
	return l.checkArgs(rest)
}
