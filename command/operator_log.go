package command

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"strings"

	"github.com/unisondb/unisondb/dbkernel/inspect"
	"github.com/unisondb/unisondb/sdk/client"
	"github.com/unisondb/unisondb/server/config"
)

// offlineFlags name a data directory.
type offlineFlags struct {
	config  stringList
	dataDir string
}

func (o *offlineFlags) define(fs *flag.FlagSet) {
	fs.Var(&o.config, "config", "The node's configuration file, or a directory of them, by its `path`, which says where the data is; may be repeated.")
	fs.StringVar(&o.dataDir, "data-dir", "", "The node's data `directory`, in place of -config.")
}

// directory is the data directory.
func (o *offlineFlags) directory(m *Meta) (string, error) {
	if o.dataDir != "" {
		return o.dataDir, nil
	}
	if len(o.config) == 0 {
		return "", usagef("name the node's configuration with -config, or its data directory with -data-dir")
	}
	cfg, err := config.Load(o.config, config.LoadOptions{Env: m.env})
	if err != nil {
		return "", localf("the configuration can't be read: %w; name the data directory with -data-dir instead", err)
	}
	return cfg.DataDir, nil
}

// offlineNamespace is a namespace whose files are read while no node runs on them.
type offlineNamespace struct {
	offlineFlags
	namespace string
	path      string
}

func (o *offlineNamespace) define(fs *flag.FlagSet) {
	o.offlineFlags.define(fs)
	fs.StringVar(&o.namespace, "namespace", "", "The `name` of the namespace. Default: $"+envNamespace+", or "+client.DefaultNamespace+".")
	fs.StringVar(&o.path, "path", "", "A namespace's own `directory`, such as one that was set aside, in place of the others.")
}

// offlineHelp is what the help of offline tools says of them.
const offlineHelp = "It reads the files of a node that doesn't run, and changes no byte of them. "

// open opens the namespace's directory, which must be closed.
func (o *offlineNamespace) open(m *Meta) (*inspect.Directory, error) {
	path := o.path
	name := cmp.Or(o.namespace, m.getenv(envNamespace), client.DefaultNamespace)
	dir := ""
	if path == "" {
		var err error
		if dir, err = o.directory(m); err != nil {
			return nil, err
		}
		path = inspect.Path(dir, name)
	}
	d, err := inspect.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && o.path == "":
		return nil, localf("there is no namespace %q in %s%s", name, dir, namesThereAre(dir))
	case errors.Is(err, inspect.ErrRunning):
		return nil, localf("%w, or ask it: '%s operator verify -scrub' has a running node read its files", err, Name)
	case err != nil:
		return nil, &localError{err}
	}
	return d, nil
}

func namesThereAre(dataDir string) string {
	names, err := inspect.Namespaces(dataDir)
	if err != nil || len(names) == 0 {
		return ": it holds none; is it a node's data directory?"
	}
	return fmt.Sprintf(": it has %s", strings.Join(names, ", "))
}
