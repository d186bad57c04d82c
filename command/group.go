package command

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/cli"
)

// groupSpec is what a group of commands says of itself.
type groupSpec struct {
	synopsis string
	about    string
}

// groupCommand is a command that only has others below it. Run alone it has
// been used wrongly.
type groupCommand struct {
	*Meta
	groupSpec
	name string
}

// Synopsis implements cli.Command.
func (g *groupCommand) Synopsis() string { return g.synopsis }

// Help implements cli.Command.
func (g *groupCommand) Help() string {
	commands := g.commands()
	children := g.children(commands)
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: %s %s <command> [options] [arguments]\n\n", Name, g.name)
	b.WriteString(wrap(g.about, "  ") + "\n\nExample:\n\n")
	fmt.Fprintf(&b, "    $ %s %s -help\n\nCommands:\n", Name, children[0])
	writeCommands(&b, commands, children)
	return strings.TrimRight(b.String(), "\n")
}

// HelpTemplate implements cli.CommandHelpTemplate: Help lists the commands itself.
func (g *groupCommand) HelpTemplate() string { return "{{.Help}}" }

// Run implements cli.Command.
func (g *groupCommand) Run(args []string) int {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		g.message("Error: %s %s needs a command.\n", Name, g.name)
		g.message("%s", g.Help())
		return exitUsage
	}
	var names []string
	for _, child := range g.children(g.commands()) {
		names = append(names, lastWord(child))
	}
	g.message("Error: unknown command %q%s", g.name+" "+args[0], didYouMean(args[0], names))
	g.message("Run '%s %s -help' for the commands there are.", Name, g.name)
	return exitUsage
}

// children is the names of the commands below the group, sorted.
func (g *groupCommand) children(commands map[string]cli.CommandFactory) []string {
	var names []string
	for name := range commands {
		if rest, ok := strings.CutPrefix(name, g.name+" "); ok && !strings.Contains(rest, " ") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
