package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"github.com/hashicorp/go-hclog"

	"github.com/unisondb/unisondb/server/config"
)

// Where a development hub listens unless it is told otherwise.
const (
	DevHTTP = "127.0.0.1:4000"
	DevGRPC = "127.0.0.1:4001"
	// DevNamespace is the namespace that a development group has.
	DevNamespace = "default"
	// devPortStep lies between the ports of one node and the next.
	devPortStep = 10
)

// DevOptions configure a development group: a hub and relayers in one process.
type DevOptions struct {
	Relayers int
	Dir      string       // where the nodes keep their data; default: a temporary directory, removed at the end
	HTTP     string       // the hub's; default DevHTTP
	GRPC     string       // the hub's; default DevGRPC
	Logger   hclog.Logger // silent by default
	Version  string
	// Config is the hub's configuration where it has one of its own. Its data
	// directory and addresses are those of the fields above.
	Config *config.Config
	// Load reads that configuration again, for Reload of the hub.
	Load func() (*config.Config, error)
	// Reloading is told of each reload of the hub; see Options.
	Reloading func() (ended func(error))
}

// Dev is a development group. Its methods may be called concurrently after Start.
type Dev struct {
	opts   DevOptions
	failed chan error

	life      sync.Mutex
	dir       string
	temporary bool
	hub       *Node
	relayers  []*Node
	watch     sync.WaitGroup // one goroutine per node, that passes its failure on
	stopWatch context.CancelFunc
}

// NewDev prepares a hub and relayers. Relayer i (1, 2, …) listens on the hub's
// ports plus 10·i; a port that is taken fails Start with an error that names it.
func NewDev(o DevOptions) (*Dev, error) {
	if o.Relayers < 0 || o.Relayers > 100 {
		return nil, fmt.Errorf("%d relayers: use 0 to 100", o.Relayers)
	}
	if o.HTTP == "" {
		o.HTTP = DevHTTP
	}
	if o.GRPC == "" {
		o.GRPC = DevGRPC
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if err := noTLS(o.Config); err != nil {
		return nil, err
	}
	for _, address := range []string{o.HTTP, o.GRPC} {
		if _, err := portPlus(address, o.Relayers*devPortStep); err != nil {
			return nil, err
		}
	}
	return &Dev{opts: o, failed: make(chan error, 1)}, nil
}

// noTLS refuses a tls block: the nodes of a group speak to each other in plain text,
// and nobody who asks for TLS shall get that.
func noTLS(c *config.Config) error {
	if c == nil {
		return nil
	}
	for kind, l := range map[string]*config.Listener{"http": c.HTTP, "grpc": c.GRPC} {
		if l != nil && l.TLS != nil {
			return fmt.Errorf("listener %q has a tls block, and a development group has no TLS: remove the block, or start without -dev", kind)
		}
	}
	return nil
}

// portPlus is an address with another port. Port 0 stays: any free one.
func portPlus(address string, add int) (string, error) {
	host, s, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("%q is no address: write a host and a port, as in %q", address, DevHTTP)
	}
	port, err := strconv.ParseUint(s, 10, 16)
	if err != nil || int(port)+add > 65535 {
		return "", fmt.Errorf("%q: the ports of all nodes must be from 1 to 65535", address)
	}
	if port != 0 {
		port += uint64(add)
	}
	return net.JoinHostPort(host, strconv.FormatUint(port, 10)), nil
}

// Start starts the hub, then the relayers, and returns when all serve.
func (d *Dev) Start(ctx context.Context) (err error) {
	d.life.Lock()
	defer d.life.Unlock()
	if d.hub != nil {
		return errors.New("the development group was started before: make another one by NewDev")
	}
	defer func() {
		if err != nil {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), failedStartGrace)
			defer cancel()
			err = errors.Join(err, d.stopLocked(ctx))
		}
	}()
	if err := d.makeDir(); err != nil {
		return err
	}
	if d.hub, err = d.startHub(ctx); err != nil {
		return err
	}
	for i := 1; i <= d.opts.Relayers; i++ {
		relayer, err := d.startRelayer(ctx, i)
		if err != nil {
			return err
		}
		d.relayers = append(d.relayers, relayer)
	}
	d.watchAll()
	return nil
}

func (d *Dev) makeDir() (err error) {
	if d.dir = d.opts.Dir; d.dir == "" {
		d.temporary = true
		d.dir, err = os.MkdirTemp("", "unisondb-dev-")
	}
	return err
}

func (d *Dev) startHub(ctx context.Context) (*Node, error) {
	cfg := d.opts.Config
	if cfg == nil {
		var err error
		if cfg, err = config.Load(nil, config.LoadOptions{Dev: true, Role: config.RoleHub}); err != nil {
			return nil, err
		}
		cfg.NodeID = "dev-hub"
	}
	return d.start(ctx, *cfg, RoleHub, "hub", 0)
}

func (d *Dev) startRelayer(ctx context.Context, i int) (*Node, error) {
	cfg, err := config.Load(nil, config.LoadOptions{Dev: true, Role: config.RoleHub})
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("relayer-%d", i)
	cfg.NodeID = "dev-" + name
	cfg.Namespaces = nil
	cfg.Relayer = &config.Relayer{Upstreams: []config.Upstream{{
		Name: "hub", Addresses: []string{d.hub.Addresses().GRPC}, Namespaces: d.hub.Names(),
	}}}
	return d.start(ctx, *cfg, RoleRelayer, name, i*devPortStep)
}

func (d *Dev) start(ctx context.Context, cfg config.Config, role Role, name string, add int) (*Node, error) {
	http, err := portPlus(d.opts.HTTP, add)
	if err != nil {
		return nil, err
	}
	grpc, err := portPlus(d.opts.GRPC, add)
	if err != nil {
		return nil, err
	}
	place := func(cfg *config.Config) {
		cfg.DataDir = filepath.Join(d.dir, name)
		cfg.HTTP, cfg.GRPC = d.listener(http, httpOf), d.listener(grpc, grpcOf)
	}
	place(&cfg)
	o := Options{Role: role, Logger: d.opts.Logger.Named(name), Version: d.opts.Version}
	if role == RoleHub {
		o.Reloading = d.opts.Reloading
	}
	if role == RoleHub && d.opts.Load != nil {
		o.Load = func() (*config.Config, error) {
			cfg, err := d.opts.Load()
			if err == nil {
				place(cfg)
			}
			return cfg, err
		}
	}
	n, err := New(cfg, o)
	if err != nil {
		return nil, err
	}
	return n, n.Start(ctx)
}

func httpOf(c *config.Config) *config.Listener { return c.HTTP }
func grpcOf(c *config.Config) *config.Listener { return c.GRPC }

// listener is a door at an address. Whether it may be open to others in plain text is
// for the hub's configuration to say.
func (d *Dev) listener(address string, of func(*config.Config) *config.Listener) *config.Listener {
	l := &config.Listener{Address: address}
	if d.opts.Config != nil {
		if written := of(d.opts.Config); written != nil {
			l.Insecure = written.Insecure
		}
	}
	return l
}

// watchAll passes on the failure of any node.
func (d *Dev) watchAll() {
	var ctx context.Context
	ctx, d.stopWatch = context.WithCancel(context.Background())
	for _, n := range append([]*Node{d.hub}, d.relayers...) {
		d.watch.Go(func() {
			select {
			case err := <-n.Failed():
				select {
				case d.failed <- err:
				default: // the first one is what counts
				}
			case <-ctx.Done():
			}
		})
	}
}

// Reload has the hub read its configuration again. It may be called after Start.
func (d *Dev) Reload(ctx context.Context) (changed []string, err error) { return d.hub.Reload(ctx) }

// Failed is that of the nodes.
func (d *Dev) Failed() <-chan error { return d.failed }

// Shutdown stops the relayers, then the hub, and removes a temporary directory.
func (d *Dev) Shutdown(ctx context.Context) error {
	d.life.Lock()
	defer d.life.Unlock()
	return d.stopLocked(ctx)
}

func (d *Dev) stopLocked(ctx context.Context) error {
	if d.stopWatch != nil {
		d.stopWatch()
		d.watch.Wait()
	}
	var errs []error
	for _, n := range slices.Backward(d.relayers) {
		errs = append(errs, n.Shutdown(ctx))
	}
	if d.hub != nil {
		errs = append(errs, d.hub.Shutdown(ctx))
	}
	if d.temporary {
		errs = append(errs, os.RemoveAll(d.dir))
	}
	return errors.Join(errs...)
}

// Hub is the hub, after Start.
func (d *Dev) Hub() *Node { return d.hub }

// Relayers are the relayers in order, after Start.
func (d *Dev) Relayers() []*Node { return slices.Clone(d.relayers) }

// Dir is where the nodes keep their data, after Start.
func (d *Dev) Dir() string { return d.dir }
