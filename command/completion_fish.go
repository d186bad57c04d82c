package command

import (
	"context"
	_ "embed"
	"flag"
)

//go:embed completion.fish
var fishCompletion []byte

type completionFishCommand struct{ *Meta }

func (c *completionFishCommand) spec() spec {
	return spec{
		synopsis: "Print the completion script for fish",
		about:    "Prints a script that has fish complete commands, flags, files and namespaces. It asks the program itself what there is, so that it stays right when the program is replaced.",
		examples: []string{
			"unisondb completion fish > ~/.config/fish/completions/unisondb.fish",
		},
	}
}

func (c *completionFishCommand) flags(*flag.FlagSet) {}

func (c *completionFishCommand) run(context.Context, []string) error { return c.print(fishCompletion) }
