package command

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"

	"github.com/unisondb/unisondb/sdk/client"
)

// Environment variables of the client flags.
const (
	envAddress   = "UNISONDB_ADDR"
	envToken     = "UNISONDB_TOKEN"
	envNamespace = "UNISONDB_NAMESPACE"
)

// connectionFlags are the names of the flags that clientFlags defines.
var connectionFlags = []string{"address", "token", "namespace", "ca-file", "cert-file", "key-file"}

// Meta is what all commands share: the streams and environment of the process,
// and the flags that say which node to talk to.
type Meta struct {
	program string // as it was called
	stdin   io.Reader
	stdout  io.Writer
	stderr  io.Writer
	env     func(string) (string, bool)
	build   Build

	// terminalWidth is the width of the terminal that w writes to; 0: none.
	terminalWidth func(w any) int
	// notify delivers signals until stop is called.
	notify func(signals ...os.Signal) (c <-chan os.Signal, stop func())
	// newNode and newDev make what server and relayer run.
	newNode nodeFactory
	newDev  devFactory

	clients    []*client.Client
	connection client.Config // of the flags
	asJSON     bool
}

func newMeta(p Process) *Meta {
	return &Meta{
		program: p.Program,
		stdin:   p.Stdin, stdout: p.Stdout, stderr: p.Stderr, env: p.Env, build: p.Build.withDefaults(),
		terminalWidth: terminalWidth, notify: notify, newNode: newServerNode, newDev: newServerDev,
	}
}

func notify(signals ...os.Signal) (<-chan os.Signal, func()) {
	c := make(chan os.Signal, 2)
	signal.Notify(c, signals...)
	return c, func() { signal.Stop(c) }
}

// message tells the user something that isn't data. There is nobody left to
// tell where it can't be written.
func (m *Meta) message(format string, args ...any) {
	_, _ = fmt.Fprintf(m.stderr, format+"\n", args...)
}

// clientFlags defines the flags that say which node to talk to.
func (m *Meta) clientFlags(flags *flag.FlagSet) {
	c := &m.connection
	flags.StringVar(&c.Address, "address", "", "The `url` of a node's HTTP listener. Default: $"+envAddress+", or "+client.DefaultAddress+".")
	flags.StringVar(&c.Token, "token", "", "The access `token`. Default: $"+envToken+", which other users of the machine can't see, unlike a flag.")
	flags.StringVar(&c.Namespace, "namespace", "", "The `name` of the namespace. Default: $"+envNamespace+", or "+client.DefaultNamespace+".")
	flags.StringVar(&c.CAFile, "ca-file", "", "A PEM `file` with the certificates that the node's must come from. Default: those of the system.")
	flags.StringVar(&c.CertFile, "cert-file", "", "A PEM `file` with the client's certificate.")
	flags.StringVar(&c.KeyFile, "key-file", "", "A PEM `file` with the client's key.")
}

func (m *Meta) jsonFlag(flags *flag.FlagSet) {
	flags.BoolVar(&m.asJSON, "json", false, "Print JSON.")
}

// client connects to the node that the flags and the environment name.
func (m *Meta) client() (*client.Client, error) {
	return m.clientOf(cmp.Or(m.connection.Address, m.getenv(envAddress)))
}

// clientOf connects to the node at an address, as client does.
func (m *Meta) clientOf(address string) (*client.Client, error) {
	config := m.connection
	config.Address = address
	config.Token = cmp.Or(config.Token, m.getenv(envToken))
	config.Namespace = cmp.Or(config.Namespace, m.getenv(envNamespace))
	config.UserAgent = Name + "/" + m.build.Version
	c, err := client.New(config)
	var fileErr *fs.PathError
	switch {
	case errors.As(err, &fileErr):
		return nil, &localError{err}
	case err != nil:
		return nil, usagef("%v", err)
	}
	m.clients = append(m.clients, c)
	return c, nil
}

// closeClients closes the connections of a command that has ended.
func (m *Meta) closeClients() {
	for _, c := range m.clients {
		c.Close()
	}
	m.clients = nil
}

func (m *Meta) getenv(name string) string {
	value, _ := m.env(name)
	return value
}
