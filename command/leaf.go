package command

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
)

// leaf is a command that does something. leafCommand does for it what all have
// in common: help, parsing, errors and the exit status.
type leaf interface {
	spec() spec
	// flags defines the command's flags.
	flags(fs *flag.FlagSet)
	// run does it. The context is that of the process.
	run(ctx context.Context, args []string) error
}

// spec is what a leaf says of itself.
type spec struct {
	synopsis string
	args     string // as in the usage line: "KEY VALUE"; brackets mean optional
	minArgs  int
	maxArgs  int // -1: any number
	about    string
	examples []string // what follows "unisondb "
	writes   bool     // changes data, so that a lost answer leaves its outcome open
}

// usageError is an error of the user's in how a command was called.
type usageError struct{ problem string }

func (e *usageError) Error() string { return e.problem }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// leafCommand makes a cli.Command of a leaf.
type leafCommand struct {
	*Meta
	leaf
	name string
}

// Synopsis implements cli.Command.
func (c *leafCommand) Synopsis() string { return c.spec().synopsis }

// HelpTemplate implements cli.CommandHelpTemplate.
func (c *leafCommand) HelpTemplate() string { return "{{.Help}}" }

// Run implements cli.Command.
func (c *leafCommand) Run(args []string) int {
	defer c.closeClients()
	rest, err := parse(c.flagSet(), args)
	if err == nil {
		err = c.checkArgs(rest)
	}
	if err == nil {
		err = c.run(context.Background(), rest)
	}
	var usage *usageError
	var silent *silentError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &usage):
		c.message("Error: %s", usage.problem)
		c.message("Run '%s %s -help' for how it is used.", Name, c.name)
		return exitUsage
	case errors.As(err, &silent):
		return cmp.Or(silent.status, exitFailed)
	}
	c.message("Error: %s", c.explain(err, c.spec().writes))
	return exitFailed
}

// silentError fails a command that has said already what is wrong.
type silentError struct {
	status int // 0: exitFailed
}

func (*silentError) Error() string { return "failed" }

func (c *leafCommand) flagSet() *flag.FlagSet {
	fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	c.flags(fs)
	return fs
}

func (c *leafCommand) checkArgs(args []string) error {
	s := c.spec()
	switch {
	case len(args) < s.minArgs:
		return usagef("%s is missing: %s %s %s", strings.Fields(s.args)[len(args)], Name, c.name, s.args)
	case s.maxArgs == 0 && len(args) > 0:
		return usagef("%q is too much: %s %s takes no arguments", args[0], Name, c.name)
	case s.maxArgs >= 0 && len(args) > s.maxArgs:
		return usagef("%q is too much: %s %s takes %s", args[s.maxArgs], Name, c.name, s.args)
	}
	return nil
}

// usage is the line that says how the command is called.
func (c *leafCommand) usage() string {
	return strings.TrimRight(fmt.Sprintf("%s %s [options] %s", Name, c.name, c.spec().args), " ")
}

// Help implements cli.Command.
func (c *leafCommand) Help() string {
	s := c.spec()
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: %s\n\n", c.usage())
	b.WriteString(wrap(s.about, "  ") + "\n\n")
	b.WriteString("Examples:\n\n")
	for _, example := range s.examples {
		fmt.Fprintf(&b, "    $ %s\n", example)
	}
	describeFlags(&b, c.flagSet())
	return strings.TrimRight(b.String(), "\n")
}
