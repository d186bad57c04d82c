package command

import (
	"context"
	"flag"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/unisondb/unisondb/sdk/client"
)

// completionPatience bounds what a node may add to the time that a key takes to answer. Tests, which
// may run beside much else, have more.
var completionPatience = time.Second

// completion is what may stand at the end of a command line.
type completion struct {
	Words []completionWord `json:"words"`
	// Files says that a file's name may stand there, too, behind Prefix.
	Files  bool   `json:"files"`
	Prefix string `json:"prefix"`
}

// completionWord is a whole word, with what it means. One that ends with "=" goes on.
type completionWord struct {
	Word  string `json:"word"`
	About string `json:"about,omitempty"`
}

// completer finds out what may stand at the end of a command line. All it knows is the
// registry of commands, so that a new one is completed by itself.
type completer struct {
	*Meta
	current string // the word that is completed
	found   completion
}

// complete completes the last of the words that follow the program's name.
func (m *Meta) complete(ctx context.Context, words []string) completion {
	c := &completer{Meta: m, found: completion{Words: []completionWord{}}}
	if len(words) > 0 {
		c.current = words[len(words)-1]
		words = words[:len(words)-1]
	}
	help := len(words) > 0 && words[0] == "help"
	if help {
		words = words[1:]
	}
	name, rest := c.commandOf(words)
	if len(rest) == 0 {
		c.addCommands(name)
	}
	if newLeaf, ok := leaves[name]; ok && !help {
		c.addLeaf(ctx, name, newLeaf(m), rest)
	}
	return c.found
}

// commandOf splits words into the longest name of a command or group that they begin with, and
// what follows.
func (c *completer) commandOf(words []string) (name string, rest []string) {
	for n := len(words); n > 0; n-- {
		name := strings.Join(words[:n], " ")
		_, isLeaf := leaves[name]
		_, isGroup := groups[name]
		if isLeaf || isGroup {
			return name, words[n:]
		}
	}
	return "", words
}

// add adds a word if the one that is completed begins like it.
func (c *completer) add(word, about string) {
	if strings.HasPrefix(word, c.current) {
		about, _, _ = strings.Cut(about, ". ")
		c.found.Words = append(c.found.Words, completionWord{word, strings.TrimSuffix(about, ".")})
	}
}

// addCommands adds the commands right below one; "" is the program itself.
func (c *completer) addCommands(below string) {
	if below != "" {
		below += " "
	}
	all := c.commands()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		last, ok := strings.CutPrefix(name, below)
		if !ok || strings.Contains(last, " ") {
			continue
		}
		if command, err := all[name](); err == nil {
			c.add(last, command.Synopsis())
		}
	}
	if below == "" {
		c.add("help", "Print the help of a command")
	}
}

// addLeaf adds what may follow a command and rest, which stands behind it.
func (c *completer) addLeaf(ctx context.Context, name string, l leaf, rest []string) {
	fs := (&leafCommand{Meta: c.Meta, name: name, leaf: l}).flagSet()
	args, pending, onlyArgs := takeWords(fs, rest)
	switch {
	case pending != nil:
		c.addValues(ctx, pending, "")
		return
	case onlyArgs:
	case strings.HasPrefix(c.current, "-"):
		c.addFlag(ctx, fs)
		return
	}
	if !c.addArgument(ctx, name, l.spec(), args) && c.current == "" && !onlyArgs {
		c.addFlag(ctx, fs)
	}
}

// takeWords reads the words between a command and the one that is completed, as parse does, but takes
// them as they come. pending is the flag whose value comes next, onlyArgs says that nothing more can be a flag.
func takeWords(fs *flag.FlagSet, words []string) (args int, pending *flag.Flag, onlyArgs bool) {
	for _, word := range words {
		switch {
		case pending != nil:
			_ = pending.Value.Set(word) // what is wrong with it is said when the command is run
			pending = nil
		case onlyArgs || len(word) < 2 || word[0] != '-':
			args++
		case word == "--":
			onlyArgs = true
		default:
			name, value, hasValue := strings.Cut(strings.TrimPrefix(word[1:], "-"), "=")
			f := fs.Lookup(name)
			switch {
			case f == nil:
			case hasValue:
				_ = f.Value.Set(value)
			case !isSwitch(f):
				pending = f
			}
		}
	}
	return args, pending, onlyArgs
}

// addFlag adds flags, or the values of the one whose name is there already.
func (c *completer) addFlag(ctx context.Context, fs *flag.FlagSet) {
	dashes := "-"
	if strings.HasPrefix(c.current, "--") {
		dashes = "--"
	}
	if name, _, ok := strings.Cut(strings.TrimLeft(c.current, "-"), "="); ok {
		if f := fs.Lookup(name); f != nil && !isSwitch(f) {
			c.addValues(ctx, f, dashes+name+"=")
		}
		return
	}
	fs.VisitAll(func(f *flag.Flag) {
		_, usage := flag.UnquoteUsage(f)
		if isSwitch(f) {
			c.add(dashes+f.Name, usage)
		} else {
			c.add(dashes+f.Name+"=", usage)
		}
	})
	c.add(dashes+"help", "Print the help of this command")
}

// choices finds the values of a flag that takes one of two: its usage names them behind a colon.
var choices = regexp.MustCompile("`[^:]*: ([a-z]+) or ([a-z]+)\\.")

// addValues adds values of a flag; before is what stands before them in the word.
func (c *completer) addValues(ctx context.Context, f *flag.Flag, before string) {
	typed := strings.TrimPrefix(c.current, before)
	if two := choices.FindStringSubmatch(f.Usage); two != nil {
		c.add(before+two[1], "")
		c.add(before+two[2], "")
		return
	}
	switch placeholder(f) {
	case "FILE", "PATH", "DIRECTORY":
		c.addFiles(before)
		return
	}
	switch {
	case strings.HasPrefix(typed, "@"):
		c.addFiles(before + "@")
	case f.Name == "namespace":
		c.addNamespaces(ctx, before)
	case f.Name == "namespaces":
		c.addNamespaces(ctx, before+typed[:strings.LastIndex(typed, ",")+1])
	}
}

// addArgument adds what the next argument of a command may be, behind so many, and says whether it
// knows.
func (c *completer) addArgument(ctx context.Context, name string, s spec, behind int) bool {
	names := strings.Fields(s.args)
	if len(names) == 0 || s.maxArgs >= 0 && behind >= s.maxArgs {
		return false
	}
	arg := strings.Trim(names[min(behind, len(names)-1)], "[].…")
	switch {
	case arg == "FILE" || arg == "PATH":
		c.addFiles("")
	case arg == "VALUE" && strings.HasPrefix(c.current, "@"):
		c.addFiles("@")
	case arg == "NAME" && strings.HasPrefix(name, "operator namespace ") && name != "operator namespace create":
		c.addNamespaces(ctx, "")
	default:
		return false
	}
	return true
}

func (c *completer) addFiles(prefix string) { c.found.Files, c.found.Prefix = true, prefix }

// addNamespaces adds what the node that the command line names has, if it answers at once.
func (c *completer) addNamespaces(ctx context.Context, before string) {
	ctx, cancel := context.WithTimeout(ctx, completionPatience)
	defer cancel()
	node, err := c.client()
	if err != nil {
		return
	}
	all, err := node.Namespaces(ctx, client.Stale(nil))
	if err != nil {
		return // a key's answer is no place for an error
	}
	for _, ns := range all {
		c.add(before+ns.Name, "")
	}
}
