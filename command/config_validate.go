package command

import (
	"context"
	"errors"
	"flag"

	"github.com/unisondb/unisondb/server/config"
)

type configValidateCommand struct {
	*Meta
	role string
}

func (c *configValidateCommand) spec() spec {
	return spec{
		synopsis: "Check configuration files",
		args:     "PATH...", minArgs: 1, maxArgs: -1,
		about: "Checks files, or the files of directories, as 'unisondb server' and 'unisondb relayer' would read them together: later ones win. " +
			"It starts nothing and reports every problem at once. The status is 1 where there is one.",
		examples: []string{
			"unisondb config validate /etc/unisondb",
			"unisondb config validate -role=relayer base.hcl edge.hcl",
		},
	}
}

func (c *configValidateCommand) flags(fs *flag.FlagSet) {
	c.jsonFlag(fs)
	fs.StringVar(&c.role, "role", "", "Check for a node of this `role`: hub or relayer. Default: either.")
}

func (c *configValidateCommand) run(_ context.Context, paths []string) error {
	if c.role != "" && c.role != config.RoleHub && c.role != config.RoleRelayer {
		return usagef("-role=%s is no role: use %s or %s", c.role, config.RoleHub, config.RoleRelayer)
	}
	cfg, err := config.Load(paths, config.LoadOptions{Role: c.role, Env: c.env})
	var invalid *config.Error
	if err != nil && !errors.As(err, &invalid) {
		return err
	}
	var unbuilt []string
	if cfg != nil {
		for _, problem := range cfg.NotBuilt() {
			unbuilt = append(unbuilt, problem.Error())
		}
	}
	if c.asJSON {
		return c.reportJSON(invalid, unbuilt)
	}
	for _, text := range unbuilt {
		c.message("Warning: %s", text)
	}
	if invalid != nil {
		for _, d := range invalid.Diagnostics {
			c.message("%s", d.String())
		}
		c.message("Error: the configuration has %s.", count(len(invalid.Diagnostics), "problem"))
		return &silentError{}
	}
	c.message("The configuration is valid.")
	return nil
}

func (c *configValidateCommand) reportJSON(invalid *config.Error, unbuilt []string) error {
	report := struct {
		Valid       bool                `json:"valid"`
		Diagnostics []config.Diagnostic `json:"diagnostics"`
		NotBuilt    []string            `json:"not_built"`
	}{invalid == nil, []config.Diagnostic{}, append([]string{}, unbuilt...)}
	if invalid != nil {
		report.Diagnostics = invalid.Diagnostics
	}
	if err := c.printJSON(report); err != nil {
		return err
	}
	if invalid != nil {
		return &silentError{}
	}
	return nil
}
