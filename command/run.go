// Package command is UnisonDB's command line. The commands are in one registry
// (commands.go), each leaf in a file of its own. They reach a node only through
// sdk/client; server and relayer are the ones that start one.
package command

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/hashicorp/cli"
)

// Name is what the program is called.
const Name = "unisondb"

// Exit statuses. Scripts rely on them.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// Process is what the command line takes from the process that it runs in.
type Process struct {
	Program string   // as it was called
	Args    []string // what followed
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	Env     func(name string) (string, bool)
	Build   Build
}

// Run runs the command that the arguments name and returns the exit status. It
// may return while a node is still shutting down: then the user has asked twice.
func Run(p Process) int { return newMeta(p).dispatch(p.Args) }

// dispatch finds the command and runs it.
func (m *Meta) dispatch(args []string) int {
	commands := m.commands()
	c := &cli.CLI{
		Name:        Name,
		Version:     m.build.String(),
		Args:        helpAsFlag(args),
		Commands:    commands,
		HelpFunc:    rootHelp,
		HelpWriter:  m.stdout,
		ErrorWriter: m.stderr,
	}
	if len(args) == 0 {
		m.message("%s", rootHelp(commands))
		return exitUsage
	}
	if problem := misused(c, args); problem != "" {
		m.message("Error: %s", problem)
		m.message("Run '%s -help' for the commands there are.", Name)
		return exitUsage
	}
	status, err := c.Run()
	if err != nil {
		m.message("Error: %v", err)
		return exitFailed
	}
	return status
}

// misused says what is wrong before any command has a say.
func misused(c *cli.CLI, args []string) string {
	if c.IsHelp() || c.IsVersion() {
		if name := c.Subcommand(); name == "" || c.Commands[name] != nil {
			return ""
		}
	}
	if strings.HasPrefix(args[0], "-") {
		return fmt.Sprintf("%s stands before the command: put flags behind it, as in '%s kv get -address=URL KEY'", args[0], Name)
	}
	name := c.Subcommand()
	if c.Commands[name] != nil {
		return ""
	}
	return fmt.Sprintf("unknown command %q%s", args[0], didYouMean(args[0], topLevel(c.Commands)))
}

// helpAsFlag turns "help kv get" into "kv get -help".
func helpAsFlag(args []string) []string {
	if len(args) == 0 || args[0] != "help" {
		return args
	}
	return append(slices.Clone(args[1:]), "-help")
}

// topLevel is the names that may stand first, sorted.
func topLevel(commands map[string]cli.CommandFactory) []string {
	var names []string
	for name := range commands {
		if !strings.Contains(name, " ") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// rootHelp is what the program says of itself. It gets the commands of the top
// level.
func rootHelp(commands map[string]cli.CommandFactory) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: %s <command> [options] [arguments]\n\n", Name)
	b.WriteString("A log-native database: hubs take writes, relayers follow and serve reads.\n\nCommands:\n")
	writeCommands(&b, commands, topLevel(commands))
	fmt.Fprintf(&b, "\nRun '%s <command> -help' for a command's options and examples.", Name)
	return b.String()
}

// writeCommands lists commands with their synopses.
func writeCommands(b *strings.Builder, commands map[string]cli.CommandFactory, names []string) {
	width := 0
	for _, name := range names {
		width = max(width, len(lastWord(name)))
	}
	for _, name := range names {
		command, err := commands[name]()
		if err != nil {
			continue // a factory of ours never fails
		}
		fmt.Fprintf(b, "  %-*s  %s\n", width, lastWord(name), command.Synopsis())
	}
}

func lastWord(name string) string { return name[strings.LastIndex(name, " ")+1:] }
