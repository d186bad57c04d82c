package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/server/certs"
	"github.com/unisondb/unisondb/server/config"
	"github.com/unisondb/unisondb/server/internal/placement"
	"github.com/unisondb/unisondb/server/topology"
)

// startGroup takes part in the group of hubs, which is this hub alone where nothing else is
// configured. It waits for no other hub: what this one has is served without.
func (n *Node) startGroup(ctx context.Context) error {
	if n.role != RoleHub {
		return nil
	}
	o := topology.Options{
		NodeID: n.ID(), InstanceID: n.names.instanceID(), Version: n.version, Region: n.cfg.Region, Dir: n.path("raft"),
		GRPC: n.advertised(), Voter: true, BootstrapExpect: 1, Logger: n.log.Named("control"), Peers: n.peers,
		Stores: n.groupStores,
	}
	if r := n.cfg.Raft; r != nil {
		o.Address, o.Advertise = r.Address, r.Advertise
		o.BootstrapExpect, o.Join, o.Voter = r.BootstrapExpect, r.Join, r.Voter
		o.Certs = n.raftCerts()
	}
	group, err := topology.Start(ctx, o)
	if err != nil {
		return err
	}
	n.group = group
	n.onStop("the control plane", group.Stop)
	return nil
}

// startHandOver has a leader hand over before anything else of this node stops.
func (n *Node) startHandOver(context.Context) error {
	if n.group != nil {
		n.onStop("the leadership", func(ctx context.Context) error {
			n.group.HandOver(ctx)
			return nil
		})
	}
	return nil
}

// raftCerts are those of the raft block, or else those of the gRPC listener.
func (n *Node) raftCerts() *certs.Store {
	if n.secrets.raft != nil {
		return n.secrets.raft
	}
	return n.secrets.grpc
}

// advertised is the address that other nodes dial; empty: there is none.
func (n *Node) advertised() string {
	switch g := n.cfg.GRPC; {
	case g == nil:
		return ""
	case g.Advertise == "" || g.Advertise == g.Address:
		return n.addresses.GRPC // the port may have been anyone that was free
	default:
		return g.Advertise
	}
}

// startPlacement begins to do what the control plane wants of this node, and to tell it
// what it doesn't know. What was so at the last stop has been taken up before.
func (n *Node) startPlacement(context.Context) error {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	n.onStop("the placement of namespaces", func(context.Context) error {
		cancel()
		n.placing.Close()
		wg.Wait()
		return nil
	})
	wg.Go(func() { n.runCatalog(ctx) })
	if n.role == RoleRelayer {
		wg.Go(func() { n.reportPlacement(ctx) })
		return n.startAttendance()
	}
	wg.Go(func() { n.followGroup(ctx) })
	wg.Go(func() { n.tellGroup(ctx) })
	return nil
}

// followGroup does what each newer state of the group wants of this hub.
func (n *Node) followGroup(ctx context.Context) {
	var taken *topology.State
	for s := n.group.State(); s != nil; {
		done := samePlaces(s, taken) || n.take(s)
		if done {
			taken = s
		}
		s = n.nextState(ctx, s, !done)
	}
}

// nextState waits for a newer state, or with again for a while at most: then it is the same one. nil: the
// hub stops.
func (n *Node) nextState(ctx context.Context, s *topology.State, again bool) *topology.State {
	wait := ctx
	if again {
		var cancel context.CancelFunc
		wait, cancel = context.WithTimeout(ctx, tellMax)
		defer cancel()
	}
	switch next, err := n.group.Watch(wait, s.Index); {
	case err == nil:
		return next
	case ctx.Err() == nil && wait.Err() != nil:
		return s
	}
	return nil
}

// samePlaces says whether two states want the same of a hub: most changes are of relayers.
func samePlaces(a, b *topology.State) bool {
	return b != nil && a.Cluster == b.Cluster && sameMap(a.Namespaces, b.Namespaces) && sameMap(a.Deleted, b.Deleted) &&
		sameMap(a.Hubs, b.Hubs) && sameMap(a.Plugins, b.Plugins)
}

// sameMap says whether two maps are one: a state's aren't changed.
func sameMap[V any](a, b map[string]V) bool {
	return reflect.ValueOf(a).UnsafePointer() == reflect.ValueOf(b).UnsafePointer()
}

// take does what a state wants of this hub, and says whether it could begin with it. A state that is
// older than one that was taken before says nothing.
func (n *Node) take(s *topology.State) bool {
	n.names.mu.Lock()
	cluster, index := n.names.id.Cluster, n.names.id.Index
	n.names.mu.Unlock()
	if s.Cluster == "" || s.Cluster == cluster && s.Index < index {
		return false
	}
	wanted := placement.ForHub(s, n.ID(), n.names.isPlaced)
	if err := n.names.notePlaced(wanted, s); err != nil {
		n.log.Error("what this hub is to have can't be noted, so that it isn't done; it is tried again with the next change", "error", err)
		return false
	}
	n.placing.Want(wanted)
	n.takeCatalog(catalogOf(s))
	n.poke()
	return true
}

// Waits between attempts to tell the group something.
const (
	tellFirst = 200 * time.Millisecond
	tellMax   = 10 * time.Second
	// tellTimeout bounds one proposal. It waits for a leader by itself.
	tellTimeout = 15 * time.Second
)

// poke has tellGroup look whether there is something to tell.
func (n *Node) poke() {
	select {
	case n.poked <- struct{}{}:
	default: // it looks anyway
	}
}

// tellGroup tells the group of the namespaces that this hub has, or is to have, and that the
// group doesn't know. It goes on until the hub stops: a group without a leader hears it later.
func (n *Node) tellGroup(ctx context.Context) {
	wait := tellFirst
	for ctx.Err() == nil {
		err := n.tell(ctx)
		if err == nil {
			wait = tellFirst
			select {
			case <-n.poked:
			case <-ctx.Done():
			}
			continue
		}
		n.log.Debug("the group of hubs hasn't heard everything", "error", err)
		news := n.poked
		if refusedByGroup(err) {
			news = nil // it would be refused again
		}
		select {
		case <-time.After(wait):
		case <-news:
		case <-ctx.Done():
		}
		wait = min(2*wait, tellMax)
	}
}

// tell makes one attempt at all that there is to tell.
func (n *Node) tell(ctx context.Context) error {
	s := n.group.State()
	if s.Hubs[n.ID()] == nil {
		return errors.New("this hub isn't a member yet")
	}
	var errs []error
	for _, c := range n.untold(s) {
		if err := n.propose(ctx, c); err != nil {
			errs = append(errs, err)
			if !refusedByGroup(err) {
				break // there is no leader: the others fare no better
			}
			n.log.Warn("the group of hubs refuses what this hub has", "error", err)
		}
	}
	return errors.Join(errs...)
}

func refusedByGroup(err error) bool {
	var refused *topology.Error
	return errors.As(err, &refused)
}

func (n *Node) propose(ctx context.Context, c topology.Command) error {
	ctx, cancel := context.WithTimeout(ctx, tellTimeout)
	defer cancel()
	_, err := n.group.Propose(ctx, c)
	return err
}

// untold is what the group is to be told: of namespaces that this hub has made, and, where it makes none
// by itself, of those that its files name. Who is first makes them.
func (n *Node) untold(s *topology.State) []topology.Command {
	n.names.mu.Lock()
	made := maps.Clone(n.names.id.Made)
	n.names.mu.Unlock()
	var commands []topology.Command
	for _, name := range slices.Sorted(maps.Keys(made)) {
		lineage := made[name].String()
		if s.Namespaces[name] == nil && s.Deleted[lineage] == nil {
			commands = append(commands, n.ensure(name, lineage))
		}
	}
	for _, ns := range n.cfg.Namespaces {
		if _, mine := made[ns.Name]; mine || s.Namespaces[ns.Name] != nil || wasDeleted(s, ns.Name) {
			continue
		}
		if lineage, err := newLineage(); err == nil {
			commands = append(commands, n.ensure(ns.Name, lineage.String()))
		}
	}
	return append(commands, n.overdue(s)...)
}

// wasDeleted says whether an operator has deleted a namespace of this name: a block doesn't make it
// again while that is remembered. 'operator namespace create' does.
func wasDeleted(s *topology.State, name string) bool {
	for _, gone := range s.Deleted {
		if gone.Name == name {
			return true
		}
	}
	return false
}

func (n *Node) ensure(name, lineage string) topology.EnsureNamespace {
	return topology.EnsureNamespace{
		Name: name, Lineage: lineage, Owner: n.self(), Settings: settingsOf(n.blockOf(name)), Created: time.Now().UTC().Truncate(time.Second),
	}
}

// self is this node as the group knows it.
func (n *Node) self() topology.Node {
	if n.role == RoleRelayer {
		return topology.Node{Kind: topology.KindRelayer, ID: n.ID()}
	}
	return topology.Node{Kind: topology.KindHub, ID: n.ID()}
}

// settingsOf is what a block says that belongs to the group; nil: there is no block.
func settingsOf(ns *config.Namespace) topology.Settings {
	if ns == nil {
		return topology.Settings{Acks: "local"}
	}
	s := topology.Settings{Acks: cmp.Or(ns.Acks, "local"), MaxBytes: ns.Quota.MaxBytes, WriteBytesPerSecond: ns.Quota.WriteBytesPerSecond}
	if r := ns.Replicate; r != nil {
		s.Replicate = &topology.Replicate{Relayers: r.Relayers, Selector: r.Selector, Hubs: r.Hubs}
	}
	return s
}

// remembered is how long a deletion is known beyond its grace: a node that was away for less hears of it, and
// doesn't bring the namespace back.
const remembered = 30 * 24 * time.Hour

// overdue forgets deletions that every node has had the time to hear of. The leader does it.
func (n *Node) overdue(s *topology.State) []topology.Command {
	if !n.group.Freshness().IsLeader {
		return nil
	}
	var commands []topology.Command
	for _, lineage := range slices.Sorted(maps.Keys(s.Deleted)) {
		if ns := s.Deleted[lineage]; time.Since(ns.Deleted.Add(ns.Grace)) > remembered {
			commands = append(commands, topology.PurgeNamespace{Lineage: lineage})
		}
	}
	return commands
}

// warnings are differences between the node's files and what the group has, which rules, and
// why the namespace isn't where the control plane wants it.
func (n *Node) warnings(name string) (all []string) {
	if err := n.placing.Problem(name); err != nil {
		all = append(all, err.Error())
	}
	if n.group == nil {
		return all
	}
	if block, ns := n.blockOf(name), n.group.State().Namespaces[name]; block != nil && ns != nil {
		all = append(all, differences(settingsOf(block), ns.Settings)...)
	}
	return all
}

// differences says where a block's settings aren't the group's.
func differences(block, group topology.Settings) []string {
	var out []string
	differ := func(key string, here, there any) {
		if !reflect.DeepEqual(here, there) {
			out = append(out, fmt.Sprintf("the block's %s is %v, and the group of hubs has %v, which rules: change the block, or use 'unisondb operator namespace set'", key, here, there))
		}
	}
	differ("acks", block.Acks, group.Acks)
	differ("max_bytes", block.MaxBytes, group.MaxBytes)
	differ("write_bytes_per_second", block.WriteBytesPerSecond, group.WriteBytesPerSecond)
	differ("replicate", describeReplicate(block.Replicate), describeReplicate(group.Replicate))
	return out
}

func describeReplicate(r *topology.Replicate) string {
	if r == nil {
		return "left out"
	}
	return fmt.Sprintf("{relayers %q, selector %v, hubs %q}", r.Relayers, r.Selector, r.Hubs)
}

// OwnerElsewhere says whether another hub takes the writes to a namespace. It implements httpapi.Node.
func (n *Node) OwnerElsewhere(name string) bool {
	owner := n.ownerOf(name)
	return n.role == RoleHub && owner.Kind == topology.KindHub && owner.ID != n.ID()
}

// RelayerOwns says whether a relayer takes the writes to a namespace. It implements httpapi.Node.
func (n *Node) RelayerOwns(name string) bool { return n.ownerOf(name).Kind == topology.KindRelayer }

// elsewhere says whether the group knows a namespace as another node's.
func (n *Node) elsewhere(name string) bool {
	owner := n.ownerOf(name)
	return owner.ID != "" && owner != n.self()
}

// HasNamespace says whether this node has a namespace, or should have it. It implements httpapi.Node.
func (n *Node) HasNamespace(name string) bool {
	if _, ok := n.places.get(name); ok {
		return true
	}
	_, err := n.db.Namespace(name)
	return !errors.Is(err, dbkernel.ErrNamespaceNotFound)
}
