package command

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/unisondb/unisondb/sdk/client"
)

// maxPluginConfig is how long the configuration of a plugin may be, in bytes.
const maxPluginConfig = 1 << 20

type operatorPluginRegisterCommand struct {
	*Meta
	entry      client.CatalogPlugin
	namespaces commaList
	program    string
	config     string
	options    optionsFlag
}

func (c *operatorPluginRegisterCommand) spec() spec {
	return spec{
		synopsis: "Put a plugin into the group's catalog",
		args:     "NAME", minArgs: 1, maxArgs: 1,
		about: "Puts a notifier or data model into the group's catalog, or replaces the one of that name there: every node runs it that has its program and one of its namespaces. What a node's own configuration has under that name comes first. " +
			"-config is a JSON object, @FILE with one, or - for standard input, which keeps secrets out of the list of processes. -option is for the further arguments of the block, as -option=max_delay=20ms; a value that is JSON is taken as such.",
		examples: []string{
			"unisondb operator plugin register a -type=webhook -namespaces=b -config=@f",
			"unisondb operator plugin register a -type=mqtt -namespaces=b -program=prog",
			"unisondb operator plugin register vector -kind=model -namespaces=vectors",
		},
		writes: true,
	}
}

func (c *operatorPluginRegisterCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
	fs.StringVar(&c.entry.Kind, "kind", "notifier", "The `kind` of plugin: notifier or model. Default: notifier.")
	fs.StringVar(&c.entry.Type, "type", "", "The `type` of a notifier, as webhook.")
	fs.Var(&c.namespaces, "namespaces", "The `names` of its namespaces, with commas between them.")
	fs.StringVar(&c.entry.RunOn, "run-on", "", "On which `nodes` a notifier runs: owner or every. Default: that of its type.")
	fs.StringVar(&c.entry.Version, "version", "", "The `version` that its program must have. Default: any.")
	fs.StringVar(&c.entry.SHA256, "sha256", "", "The `checksum` that its program must have, in hexadecimal. Default: any.")
	fs.StringVar(&c.program, "program", "", "A copy of its program here, as a `file`: the checksum of it is what nodes must have.")
	fs.StringVar(&c.config, "config", "", "Its own configuration: a JSON `object`, @FILE, or - for standard input.")
	fs.Var(&c.options, "option", "A further argument of the block, as a `name=value`. May be repeated.")
}

func (c *operatorPluginRegisterCommand) run(ctx context.Context, args []string) error {
	if err := c.complete(args[0]); err != nil {
		return err
	}
	node, err := c.client()
	if err != nil {
		return err
	}
	p, err := node.RegisterPlugin(ctx, c.entry)
	if err != nil {
		return err
	}
	if c.asJSON {
		return c.printJSON(p)
	}
	c.message("Plugin %q is in the catalog, checksum %s. 'operator plugin list' shows on each node how it does.", p.Name, dash(p.SHA256))
	return nil
}

// complete makes an entry of the catalog of the flags.
func (c *operatorPluginRegisterCommand) complete(name string) (err error) {
	c.entry.Name, c.entry.Namespaces, c.entry.Options = name, c.namespaces, c.options
	switch {
	case len(c.namespaces) == 0:
		return usagef("-namespaces is missing: name at least one namespace")
	case c.program != "" && c.entry.SHA256 != "":
		return usagef("-program and -sha256 exclude each other: give one")
	case c.program != "":
		if c.entry.SHA256, err = checksumOf(c.program); err != nil {
			return err
		}
	}
	if c.config == "" {
		return nil
	}
	var text valueFlag
	b, err := text.value(c.Meta, c.config, maxPluginConfig)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, &c.entry.Config); err != nil || c.entry.Config == nil {
		return usagef("-config is no JSON object: %v", err)
	}
	return nil
}

// checksumOf is the SHA-256 of a file, in hexadecimal.
func checksumOf(name string) (string, error) {
	file, err := openFile(name)
	if err != nil {
		return "", err
	}
	defer file.Close() //nolint:errcheck // it was only read
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return "", localf("read %s: %w", name, causeOf(err))
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// optionsFlag are arguments of a block by name; what isn't JSON is text.
type optionsFlag map[string]any

func (o *optionsFlag) String() string { return "" }

func (o *optionsFlag) Set(s string) error {
	name, text, ok := strings.Cut(s, "=")
	if !ok || name == "" {
		return fmt.Errorf("%q is no argument: write it as name=value", s)
	}
	if *o == nil {
		*o = optionsFlag{}
	}
	var value any
	if json.Unmarshal([]byte(text), &value) != nil {
		value = text
	}
	(*o)[name] = value
	return nil
}
