package command

import (
	"context"
	"flag"
	"strings"
)

type completionWordsCommand struct{ *Meta }

func (c *completionWordsCommand) spec() spec {
	return spec{
		synopsis: "Print what may end a command line",
		args:     "[WORD]...", maxArgs: -1,
		about: "Prints what the last word of a command line may become, each with what it means behind a tab; the words are those that follow the program's name. " +
			"A line that begins with :files says that a file's name may stand there, behind the text that follows the tab. The scripts that 'unisondb completion' prints ask this. " +
			"Namespaces are those of the node that the command line and the environment name, if it answers within a second.",
		examples: []string{
			"unisondb completion words -- kv ge",
			"unisondb completion words -- config validate -role=",
		},
	}
}

func (c *completionWordsCommand) flags(fs *flag.FlagSet) { c.jsonFlag(fs) }

func (c *completionWordsCommand) run(ctx context.Context, words []string) error {
	completed := &Meta{env: c.env, build: c.build} // its flags are not this command's
	defer completed.closeClients()
	found := completed.complete(ctx, words)
	if c.asJSON {
		return c.printJSON(found)
	}
	var b strings.Builder
	for _, w := range found.Words {
		b.WriteString(w.Word + "\t" + w.About + "\n")
	}
	if found.Files {
		b.WriteString(":files\t" + found.Prefix + "\n")
	}
	return c.print([]byte(b.String()))
}
