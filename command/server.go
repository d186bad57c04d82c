package command

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"strings"

	"github.com/unisondb/unisondb/sdk/client"
	"github.com/unisondb/unisondb/server"
	"github.com/unisondb/unisondb/server/config"
)

type serverCommand struct {
	*Meta
	config   stringList
	dev      bool
	relayers int
	devHTTP  string
	devGRPC  string
}

func (c *serverCommand) spec() spec {
	return spec{
		synopsis: "Run a hub",
		about: "Runs a hub until SIGINT or SIGTERM; a second signal stops it at once. " + reloadHelp + " The log goes to standard error.\n" +
			"\n" +
			"With -dev nothing has to be configured: unless a configuration says otherwise, the data is in a temporary directory that is removed at the end.",
		examples: []string{
			"unisondb server -dev",
			"unisondb server -dev -dev-relayers=1",
			"unisondb server -config=/etc/unisondb -config=local.hcl",
		},
	}
}

func (c *serverCommand) flags(fs *flag.FlagSet) {
	fs.Var(&c.config, "config", "A configuration file, or a directory of them, by its `path`; may be repeated: later ones win.")
	fs.BoolVar(&c.dev, "dev", false, "Run for development, without the need of a configuration.")
	fs.IntVar(&c.relayers, "dev-relayers", 0, "With -dev: run this `number` of relayers, too, in the same process.")
	fs.StringVar(&c.devHTTP, "dev-http", "", "With -dev, the `address` of the HTTP listener. Default: 127.0.0.1:4000.")
	fs.StringVar(&c.devGRPC, "dev-grpc", "", "With -dev, the `address` of the gRPC listener. Default: 127.0.0.1:4001.")
}

func (c *serverCommand) run(context.Context, []string) error {
	switch {
	case !c.dev && (c.relayers != 0 || c.devHTTP != "" || c.devGRPC != ""):
		return usagef("-dev-relayers, -dev-http and -dev-grpc go with -dev")
	case !c.dev && len(c.config) == 0:
		return usagef("there is nothing to run: name a configuration with -config, or use -dev")
	case c.relayers < 0:
		return usagef("-dev-relayers=%d is negative: give the number of relayers", c.relayers)
	case c.dev:
		return c.runDev()
	}
	cfg, err := c.loadConfig(c.config, config.RoleHub, false)
	if err != nil {
		return err
	}
	log := c.logger(cfg.Log)
	manager := newServiceManager(c.env, log)
	node, err := c.newNode(*cfg, server.Options{Role: server.RoleHub, Logger: log, Version: c.build.Version,
		Load: c.reloadConfig(c.config, config.RoleHub, false), Reloading: manager.reloading})
	if err != nil {
		return err
	}
	return c.runNode(log, manager, node, func() error { return nil })
}

// runDev runs a development group. A configuration of its own is the hub's.
func (c *serverCommand) runDev() error {
	cfg, err := c.loadConfig(c.config, config.RoleHub, true)
	if err != nil {
		return err
	}
	log := c.logger(cfg.Log)
	manager := newServiceManager(c.env, log)
	o := server.DevOptions{Relayers: c.relayers, HTTP: c.devHTTP, GRPC: c.devGRPC, Logger: log, Version: c.build.Version, Reloading: manager.reloading}
	if len(c.config) > 0 {
		o.Config, o.Dir = cfg, cfg.DataDir
		o.Load = c.reloadConfig(c.config, config.RoleHub, true)
		o.HTTP = cmp.Or(o.HTTP, listenerAddress(cfg.HTTP))
		o.GRPC = cmp.Or(o.GRPC, listenerAddress(cfg.GRPC))
	}
	group, err := c.newDev(o)
	if err != nil {
		return err
	}
	return c.runNode(log, manager, group, func() error { return c.introduce(group, o.Dir == "") })
}

func listenerAddress(l *config.Listener) string {
	if l == nil {
		return ""
	}
	return l.Address
}

// introduce prints where a development group listens and what to try.
func (c *serverCommand) introduce(g devGroup, temporary bool) error {
	hub, relayers := g.addresses()
	fate := "stays"
	if temporary {
		fate = "is removed at the end"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\nUnisonDB is running, for development only: the data in %s %s.\n\n", g.dir(), fate)
	fmt.Fprintf(&b, "  hub        http://%s   gRPC %s\n", hub.HTTP, hub.GRPC)
	for i, r := range relayers {
		fmt.Fprintf(&b, "  relayer %d  http://%s   gRPC %s\n", i+1, r.HTTP, r.GRPC)
	}
	// The relayer shows what was written on the hub.
	reader := hub
	if len(relayers) > 0 {
		reader = relayers[0]
	}
	program := cmp.Or(c.program, Name)
	fmt.Fprintf(&b, "\nTry in another terminal:\n\n")
	fmt.Fprintf(&b, "  %s kv put%s greeting hello\n", program, addressFlag(hub))
	fmt.Fprintf(&b, "  %s kv get%s greeting\n", program, addressFlag(reader))
	fmt.Fprintf(&b, "  %s status%s\n\n", program, addressFlag(reader))
	return c.print([]byte(b.String()))
}

// addressFlag is what a command needs to reach a node; nothing at the default.
func addressFlag(a server.Addresses) string {
	if "http://"+a.HTTP == client.DefaultAddress {
		return ""
	}
	return " -address=http://" + a.HTTP
}
