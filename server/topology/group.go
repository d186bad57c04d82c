package topology

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
	"github.com/unisondb/unisondb/server/certs"
)

// Options say which hub this is, and how it finds the others.
type Options struct {
	NodeID     string // required
	InstanceID string // of the data directory, required: a wiped hub is another member
	Version    string // of the build, shown to operators
	Region     string
	Dir        string // where the log and the snapshots are kept; made where it is missing

	// Address is where the other hubs reach this one's Raft, host:port to listen on; empty: the
	// group is this hub alone, and listens nowhere. Advertise is what they dial; Address by default.
	Address   string
	Advertise string
	GRPC      string // what others dial for this hub's gRPC listener; empty: they can't

	// BootstrapExpect is with how many hubs, this one included, a group begins. With 0 or 1
	// this hub begins one by itself, unless Join names others.
	BootstrapExpect int
	// Join are gRPC addresses of other hubs, any of which lets this one in.
	Join  []string
	Voter bool // false: a far hub, that follows and has no vote

	Certs  *certs.Store // of a listener; secures Raft's connections. nil: they are in plain text
	Peers  Peers        // nil: no other hub can be asked anything
	Logger hclog.Logger // silent by default
	Clock  func() time.Time

	// SnapshotThreshold is how many entries the log may have before a snapshot is taken, and
	// TrailingLogs how many stay behind it; 0: the defaults.
	SnapshotThreshold uint64
	TrailingLogs      uint64

	// For tests: what takes the place of the network, the clocks and the disk.
	Transport raft.Transport
	Timeouts  *Timeouts
	Stores    *Stores
}

// Peers reaches the gRPC listeners of other hubs.
type Peers interface {
	Hubs(address string) (dbv1.HubsClient, error)
}

// Group is this hub's part in the group of hubs. Its methods may be called
// concurrently. No method but those that say so waits for the other hubs.
type Group struct {
	o       Options
	t       Timeouts
	log     hclog.Logger
	id      raft.ServerID
	machine *machine
	link    *link
	stores  *Stores
	raft    *raft.Raft

	// gate is held while an entry is proposed and while a hub joins, so that no command is proposed meanwhile
	// that it can't read.
	gate turn
	// verifying is held while the voters are asked whether this hub leads still.
	verifying turn
	// members is held while the leader changes who is in the group: one change at a time.
	members turn
	// term is set while this hub leads and has applied all that came before.
	term atomic.Pointer[term]

	waiting waiting // before the group has begun
	removed atomic.Bool

	ctx    context.Context // ends when Stop has been called
	cancel context.CancelFunc
	wg     sync.WaitGroup
	life   sync.RWMutex // over closed: nothing begins any more when it is set
	closed bool
	stop   sync.Once
	ended  error
	down   chan struct{} // closed when Raft is shut down
	over   sync.Once     // closes down
}

// Start opens what the disk has of the group and takes part in it. It waits for nobody: a
// hub alone leads within some milliseconds, others as soon as they find each other. Files of
// another hub or of a newer version are refused, and nothing is touched then. ctx bounds Start only.
func Start(ctx context.Context, o Options) (*Group, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	g := &Group{o: o, t: *o.Timeouts, log: o.Logger, id: serverID(o.NodeID, o.InstanceID), down: make(chan struct{}), gate: newTurn(), members: newTurn(), verifying: newTurn()}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	g.machine = newMachine(o.Version)
	if err := g.open(); err != nil {
		g.cancel()
		return nil, err
	}
	g.wg.Go(func() { g.leadership() })
	g.wg.Go(func() { g.seek() })
	g.wg.Go(func() { g.noteApplied() })
	g.wg.Go(func() { g.watchMachine() })
	if g.alone() {
		g.link.elect()
	}
	return g, nil
}

// open brings up the stores, the transport and Raft, and begins a group where this hub is to
// do that by itself.
func (g *Group) open() (err error) {
	if g.stores = g.o.Stores; g.stores == nil {
		if g.stores, err = openStores(g.o.Dir, identity{g.o.NodeID, g.o.InstanceID}, g.log); err != nil {
			return err
		}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.stores.close())
		}
	}()
	if err := g.stores.settle(); err != nil {
		return err
	}
	if err := g.stores.load(g.machine); err != nil {
		return err
	}
	transport, err := g.transport()
	if err != nil {
		return err
	}
	g.link = newLink(transport)
	if err := g.openRaft(); err != nil {
		return errors.Join(err, g.link.Close())
	}
	return nil
}

func (g *Group) openRaft() error {
	c := g.config()
	there, err := raft.HasExistingState(g.stores.Log, g.stores.Stable, g.stores.Snapshots)
	if err != nil {
		return fmt.Errorf("reading the control plane's log: %w: check the disk below %s", err, g.o.Dir)
	}
	if !there && g.o.beginsAlone() {
		if err := g.bootstrap(c); err != nil {
			return err
		}
	}
	g.raft, err = raft.NewRaft(c, g.machine, g.stores.Log, g.stores.Stable, g.stores.Snapshots, g.link)
	if err != nil {
		return fmt.Errorf("starting the control plane: %w: check the disk below %s", err, g.o.Dir)
	}
	g.link.serve(&intake{raft: g.raft, stores: g.stores, log: newSparse(g.log)})
	return nil
}

// bootstrap makes this hub the one voter of a new group.
func (g *Group) bootstrap(c *raft.Config) error {
	first := raft.Configuration{Servers: []raft.Server{{Suffrage: raft.Voter, ID: g.id, Address: g.address()}}}
	if err := raft.BootstrapCluster(c, g.stores.Log, g.stores.Stable, g.stores.Snapshots, g.link, first); err != nil {
		return fmt.Errorf("beginning a group of hubs: %w", err)
	}
	return nil
}

// config is Raft's. It doesn't restore snapshots at its start: load has done that.
func (g *Group) config() *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = g.id
	c.HeartbeatTimeout, c.ElectionTimeout = g.t.Heartbeat, g.t.Election
	c.LeaderLeaseTimeout, c.CommitTimeout = g.t.Lease, g.t.Commit
	c.Logger = newSparse(g.log.Named("raft"))
	c.NoSnapshotRestoreOnStart = true
	c.NoLegacyTelemetry = true
	c.ShutdownOnRemove = false // a hub that was removed says so, and its data path goes on
	if g.o.SnapshotThreshold > 0 {
		c.SnapshotThreshold = g.o.SnapshotThreshold
		c.SnapshotInterval = g.t.Heartbeat
	}
	if g.o.TrailingLogs > 0 {
		c.TrailingLogs = g.o.TrailingLogs
	}
	return c
}

// alone says whether this hub is the only one with a vote, so that it needs nobody to lead.
func (g *Group) alone() bool {
	voters, mine := 0, false
	for _, s := range g.servers() {
		if s.Suffrage == raft.Voter {
			voters++
			mine = mine || s.ID == g.id
		}
	}
	return mine && voters == 1
}

// servers are the members as this hub knows them, in the order in which they came.
func (g *Group) servers() []raft.Server {
	f := g.raft.GetConfiguration()
	if f.Error() != nil {
		return nil
	}
	return f.Configuration().Servers
}

// server is a member; nil: it is none.
func (g *Group) server(id raft.ServerID) *raft.Server {
	for _, s := range g.servers() {
		if s.ID == id {
			return &s
		}
	}
	return nil
}

// address is where the other hubs dial this one.
func (g *Group) address() raft.ServerAddress {
	if g.o.Advertise == "" {
		return nowhere
	}
	return raft.ServerAddress(g.o.Advertise)
}

// self is what the group is to know of this hub.
func (g *Group) self() Hub {
	return Hub{
		ID: g.o.NodeID, Instance: g.o.InstanceID, Raft: g.o.Advertise, GRPC: g.o.GRPC,
		Version: g.o.Version, Region: g.o.Region, Voter: g.o.Voter, ReadsUpTo: newest,
	}
}

// State is the newest state here, which may be older than the group's. It is never nil.
func (g *Group) State() *State { return g.machine.state.Load() }

// Watch waits for a state with a higher index than after, and answers the newest one. The
// error is ctx's, or that the group was stopped.
func (g *Group) Watch(ctx context.Context, after uint64) (*State, error) {
	for {
		moved := g.machine.changes()
		if s := g.State(); s.Index > after {
			return s, nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-g.ctx.Done():
			return nil, ErrStopped
		}
	}
}

// Freshness is how this hub stands to the group.
type Freshness struct {
	Leader   string // node id; empty: none is known
	IsLeader bool
	// LastContact is how long ago the leader was heard of; 0 on the leader, and negative
	// where none was heard of since the start.
	LastContact time.Duration
	Applied     uint64 // State's index
	// Problem says why this hub takes no part any more, and what to do; empty: it does.
	Problem string
}

// Freshness says how new State may be.
func (g *Group) Freshness() Freshness {
	f := Freshness{Applied: g.State().Index, IsLeader: g.raft.State() == raft.Leader, LastContact: -1, Problem: g.problem()}
	if _, id := g.raft.LeaderWithID(); id != "" {
		f.Leader, _ = splitID(id)
	}
	switch last := g.raft.LastContact(); {
	case f.IsLeader:
		f.LastContact = 0
	case !last.IsZero():
		f.LastContact = time.Since(last)
	}
	return f
}

// problem says why this hub takes no part.
func (g *Group) problem() string {
	if err := g.machine.problem(); err != nil {
		return err.Error()
	}
	if n := len(g.servers()); n > 1 && g.o.Address == "" && g.o.Transport == nil {
		return fmt.Sprintf("hub %q is one of %d hubs and listens nowhere for the others: set address in its raft block again", g.o.NodeID, n)
	}
	if g.removed.Load() {
		return fmt.Sprintf("hub %q was removed from the group of hubs: restart it to let it join again, or stop it for good", g.o.NodeID)
	}
	return ""
}

// watchMachine ends this hub's part in the group for good when it has met what it can't read.
func (g *Group) watchMachine() {
	select {
	case <-g.machine.failed:
		g.log.Error("this hub takes no part in the control plane any more; its data path goes on", "error", g.machine.problem())
		if err := g.shutdown(); err != nil {
			g.log.Error("ending the control plane failed", "error", err)
		}
	case <-g.ctx.Done():
	}
}

// Stop hands the leadership over, where this hub has it and another one can take it, and ends its
// part in the group. ctx bounds the handing over; what is open is closed in any case.
func (g *Group) Stop(ctx context.Context) error {
	g.stop.Do(func() {
		g.HandOver(ctx)
		g.cancel()
		err := g.shutdown()
		g.life.Lock()
		g.closed = true
		g.life.Unlock()
		g.wg.Wait()
		g.ended = errors.Join(err, g.link.Close(), g.stores.close())
	})
	return g.ended
}

// shutdown ends Raft's goroutines, and then all waiting for what they would have answered. The connections
// go first: a hub that doesn't answer isn't waited for.
func (g *Group) shutdown() error {
	ends := g.raft.Shutdown()
	err := errors.Join(g.link.Close(), ends.Error())
	g.over.Do(func() { close(g.down) })
	return err
}

// HandOver gives the leadership to another voter, if this hub has it and another one can take it. Stop does
// that, too; a hub that closes its listeners before does it before that, while the others still reach it.
func (g *Group) HandOver(ctx context.Context) {
	if ctx.Err() != nil || g.raft.State() != raft.Leader || g.alone() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, g.t.HandOver)
	defer cancel()
	if err := g.await(ctx, g.raft.LeadershipTransfer()); err != nil {
		g.log.Warn("the leadership wasn't handed over: the others elect a leader when they miss this one", "error", err)
	}
}
