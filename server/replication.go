package server

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc/credentials"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/replicator"
	"github.com/unisondb/unisondb/server/config"
	"github.com/unisondb/unisondb/server/internal/placement"
	"github.com/unisondb/unisondb/server/topology"
)

// startReplication begins to follow what the configuration of a relayer names, and what the
// control plane has last had this node replicate. It waits for no connection: what is here
// is served without one.
func (n *Node) startReplication(context.Context) error {
	n.onStop("the upstreams", func(context.Context) error { return n.links.close() })
	if n.role == RoleRelayer {
		for _, r := range routesOf(n.cfg.Relayer.Upstreams) {
			if err := n.followConfigured(r); err != nil {
				return err
			}
		}
	}
	n.resumePlaced()
	return n.offerOwned()
}

// followConfigured follows the namespaces of a route of the configuration.
func (n *Node) followConfigured(r *route) error {
	l, err := n.links.acquire(r)
	if err != nil {
		return err
	}
	for _, name := range r.namespaces {
		n.places.set(name, place{role: placement.Follow, link: l, configured: true})
		l.up.Follow(name)
	}
	return nil
}

// route is where namespaces come from that the same upstreams name: the
// addresses of all of these, in order. Those namespaces share connections.
type route struct {
	upstreams  []string // names of the blocks, or of the nodes
	addresses  []string
	owners     []string // by address: the block that names it first, or the node
	assigned   bool     // the control plane names it
	namespaces []string // of the configuration
}

// routesOf groups namespaces by the upstreams that name them, in the order of
// the configuration.
func routesOf(upstreams []config.Upstream) []*route {
	var routes []*route
	seen := map[string]bool{}
	for _, u := range upstreams {
		for _, name := range u.Namespaces {
			if seen[name] {
				continue
			}
			seen[name] = true
			r := routeTo(name, upstreams)
			same := slices.IndexFunc(routes, func(other *route) bool { return slices.Equal(other.upstreams, r.upstreams) })
			if same < 0 {
				routes = append(routes, r)
				continue
			}
			routes[same].namespaces = append(routes[same].namespaces, name)
		}
	}
	return routes
}

func routeTo(namespace string, upstreams []config.Upstream) *route {
	r := &route{namespaces: []string{namespace}}
	for _, u := range upstreams {
		if slices.Contains(u.Namespaces, namespace) {
			r.add(u)
		}
	}
	return r
}

func (r *route) add(u config.Upstream) {
	r.upstreams = append(r.upstreams, u.Name)
	for _, address := range u.Addresses {
		if !slices.Contains(r.addresses, address) {
			r.addresses, r.owners = append(r.addresses, address), append(r.owners, u.Name)
		}
	}
}

// routeOf is the route to the sources that the control plane names.
func routeOf(sources []topology.Source) *route {
	r := &route{assigned: true}
	for _, s := range sources {
		if !slices.Contains(r.addresses, s.Address) {
			r.upstreams = append(r.upstreams, s.Node)
			r.addresses, r.owners = append(r.addresses, s.Address), append(r.owners, s.Node)
		}
	}
	return r
}

func (r *route) name() string { return strings.Join(r.upstreams, ", ") }

// nameOf names the upstream that an address belongs to.
func (r *route) nameOf(address string) string {
	if i := slices.Index(r.addresses, address); i >= 0 {
		return r.owners[i]
	}
	return ""
}

// key tells routes apart.
func (r *route) key() string {
	var b strings.Builder
	for i, address := range r.addresses {
		b.WriteString(address + "\x00" + r.owners[i] + "\x00")
	}
	return b.String()
}

// link is an upstream, which all namespaces share that come from the same addresses.
type link struct {
	up    *replicator.Upstream
	key   string
	users int // with links.mu held
}

// links are the node's upstreams. Each exists while something uses it.
type links struct {
	node *Node

	mu     sync.Mutex
	all    []*link
	closed bool
}

var errStopping = errors.New("the node stops")

// acquire is the upstream of a route, which is made and started if there is none. It is
// given back by release.
func (ls *links) acquire(r *route) (*link, error) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.closed {
		return nil, errStopping
	}
	key := r.key()
	for _, l := range ls.all {
		if l.key == key {
			l.users++
			return l, nil
		}
	}
	up, err := replicator.NewUpstream(ls.node.upstreamOptions(r))
	if err != nil {
		return nil, err
	}
	up.Start()
	l := &link{up: up, key: key, users: 1}
	ls.all = append(ls.all, l)
	return l, nil
}

// release gives an upstream back. The last one closes it.
func (ls *links) release(l *link) error {
	ls.mu.Lock()
	l.users--
	last := l.users == 0 && !ls.closed
	if last {
		ls.all = slices.DeleteFunc(ls.all, func(other *link) bool { return other == l })
	}
	ls.mu.Unlock()
	if !last {
		return nil
	}
	return l.up.Close()
}

// close closes all upstreams, side by side: each waits for its streams.
func (ls *links) close() error {
	ls.mu.Lock()
	ls.closed = true
	all := ls.all
	ls.mu.Unlock()
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, l := range all {
		wg.Go(func() { errs[i] = l.up.Close() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// upstreams are those of the moment.
func (ls *links) upstreams() []*replicator.Upstream {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ups := make([]*replicator.Upstream, len(ls.all))
	for i, l := range ls.all {
		ups[i] = l.up
	}
	return ups
}

func (n *Node) upstreamOptions(r *route) replicator.UpstreamOptions {
	return replicator.UpstreamOptions{
		Name: r.name(), NodeID: n.ID(), Addresses: r.addresses, NameOf: r.nameOf, Store: n.store(),
		Logger:      n.log.Named("replicator"),
		Compression: n.cfg.Replication.Compression,
		CredentialsOf: func(address string) credentials.TransportCredentials {
			return n.dialCredentials(r, address)
		},
		PerRPC: n.streamCredentials(),
		Acks:   &n.acks, FollowerBytesPerSecond: n.cfg.Replication.FollowerBytesPerSecond,
		SnapshotRate: replicator.NewSnapshotRate(n.cfg.Replication.SnapshotBytesPerSecond),
	}
}

// WaitReplicated waits until direct followers have a position. It implements httpapi.Node.
func (n *Node) WaitReplicated(ctx context.Context, name string, p dbkernel.Position, acks int) (have int, err error) {
	return n.acks.WaitReplicated(ctx, name, p, acks)
}

// sinks are the states of all that comes from elsewhere.
func (n *Node) sinks() []replicator.SinkStatus {
	var all []replicator.SinkStatus
	for _, up := range n.links.upstreams() {
		all = append(all, up.Status()...)
	}
	if n.rpc == nil {
		return all
	}
	for _, s := range n.rpc.Received() {
		if n.places.role(s.Namespace) == placement.Receive {
			all = append(all, s)
		}
	}
	return all
}
