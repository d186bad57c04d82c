package command

import (
	"context"
	_ "embed"
	"flag"
)

//go:embed completion.bash
var bashCompletion []byte

type completionBashCommand struct{ *Meta }

func (c *completionBashCommand) spec() spec {
	return spec{
		synopsis: "Print the completion script for bash",
		about:    "Prints a script that has bash complete commands, flags, files and namespaces. It asks the program itself what there is, so that it stays right when the program is replaced.",
		examples: []string{
			"unisondb completion bash > /etc/bash_completion.d/unisondb",
		},
	}
}

func (c *completionBashCommand) flags(*flag.FlagSet) {}

func (c *completionBashCommand) run(context.Context, []string) error { return c.print(bashCompletion) }
