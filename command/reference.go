package command

import (
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// CommandDoc is a command or a group of commands, as the reference shows it.
type CommandDoc struct {
	Name     string // kv put
	Synopsis string
	Usage    string
	About    string
	Examples []string
	Flags    []FlagDoc // its own, without those of the connection
	Client   bool      // talks to a node, and so has the flags of the connection
	Children []string  // of a group
}

// FlagDoc is a flag of a command.
type FlagDoc struct {
	Name  string
	Value string // what stands behind the equals sign; empty: nothing
	Help  string
}

// EnvironmentDoc is a variable of the environment that commands read.
type EnvironmentDoc struct{ Name, Flag, What string }

// ExitStatusDoc is a number that the program ends with.
type ExitStatusDoc struct {
	Status  int
	Meaning string
}

// Environment are the variables that commands read.
func Environment() []EnvironmentDoc {
	return []EnvironmentDoc{
		{envAddress, "address", "The URL of a node's HTTP listener."},
		{envToken, "token", "The access token. Other users of the machine can't see it, unlike a flag."},
		{envNamespace, "namespace", "The name of the namespace."},
	}
}

// ExitStatuses are the numbers that the program ends with.
func ExitStatuses() []ExitStatusDoc {
	return []ExitStatusDoc{
		{exitDone, "Done."},
		{exitFailed, "Failed. So does `get` of something that isn't there, and `config validate` of a bad file."},
		{exitUsage, "Used wrongly: an unknown command or flag, a value that a flag doesn't take, too few or too many arguments."},
	}
}

// Reference is every command and group, by name.
func Reference() []CommandDoc {
	m := newMeta(Process{Stdout: io.Discard, Stderr: io.Discard, Env: func(string) (string, bool) { return "", false }})
	all := m.commands()
	var docs []CommandDoc
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if g, ok := groups[name]; ok {
			group := &groupCommand{Meta: m, name: name, groupSpec: g}
			docs = append(docs, CommandDoc{
				Name: name, Synopsis: g.synopsis, About: g.about, Children: group.children(all),
				Usage: fmt.Sprintf("%s %s <command> [options] [arguments]", Name, name),
			})
			continue
		}
		docs = append(docs, (&leafCommand{Meta: m, name: name, leaf: leaves[name](m)}).doc())
	}
	return docs
}

func (c *leafCommand) doc() CommandDoc {
	s := c.spec()
	fs := c.flagSet()
	d := CommandDoc{
		Name: c.name, Synopsis: s.synopsis, About: s.about, Examples: s.examples, Usage: c.usage(),
		Client: fs.Lookup("address") != nil, // an offline command may have a flag of the same name as one of the connection's
	}
	fs.VisitAll(func(f *flag.Flag) {
		if !d.Client || !slices.Contains(connectionFlags, f.Name) {
			d.Flags = append(d.Flags, flagDoc(f))
		}
	})
	return d
}

// ConnectionFlags are those that every command has that talks to a node.
func ConnectionFlags() []FlagDoc {
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	new(Meta).clientFlags(fs)
	var flags []FlagDoc
	for _, name := range connectionFlags {
		flags = append(flags, flagDoc(fs.Lookup(name)))
	}
	return flags
}

func flagDoc(f *flag.Flag) FlagDoc {
	_, help := flag.UnquoteUsage(f)
	d := FlagDoc{Name: f.Name, Help: strings.ReplaceAll(help, "\n", " ")}
	if !isSwitch(f) {
		d.Value = placeholder(f)
	}
	return d
}
