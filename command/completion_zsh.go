package command

import (
	"context"
	_ "embed"
	"flag"
)

//go:embed completion.zsh
var zshCompletion []byte

type completionZshCommand struct{ *Meta }

func (c *completionZshCommand) spec() spec {
	return spec{
		synopsis: "Print the completion script for zsh",
		about:    "Prints a script that has zsh complete commands, flags, files and namespaces. It asks the program itself what there is, so that it stays right when the program is replaced.",
		examples: []string{
			"unisondb completion zsh > ~/.zfunc/_unisondb",
		},
	}
}

func (c *completionZshCommand) flags(*flag.FlagSet) {}

func (c *completionZshCommand) run(context.Context, []string) error { return c.print(zshCompletion) }
