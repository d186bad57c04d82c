package topology

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// Peer is a hub that is to be in the group after a recovery.
type Peer struct {
	ID       string `json:"id"`
	Address  string `json:"address"` // of its Raft; empty: as the group knows it
	NonVoter bool   `json:"non_voter"`
}

// RecoverOptions say how a group goes on that has lost most of its voters for good.
type RecoverOptions struct {
	Dir    string // the control plane's directory of a hub that is stopped
	Peers  []Peer // who is in the group from here on; this hub among them
	Now    time.Time
	Logger hclog.Logger
}

// Recover makes the hubs in Peers the group, offline. Everything that this hub's log holds counts as agreed
// on, also what may never have been; what others alone had is lost. What was there is copied
// first, beside the directory, and a refusal changes nothing. It is done on one hub, the one whose log is
// longest, with that hub alone as its peer; the others join it with empty directories. Several peers are for
// hubs whose logs end with the same entry: each is recovered with the same Peers.
func Recover(o RecoverOptions) (backup string, err error) {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	owner, err := readOwner(o.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s holds no control plane: name the raft directory of a hub that was in the group", o.Dir)
	}
	if err != nil {
		return "", err
	}
	stores, err := openStores(o.Dir, owner, o.Logger)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, stores.close()) }()
	r := &recovery{machine: newMachine("")}
	if err := r.replay(stores); err != nil {
		return "", err
	}
	if err := r.plan(owner, o.Peers); err != nil {
		return "", err
	}
	backup = fmt.Sprintf("%s-before-recover-%s", filepath.Clean(o.Dir), o.Now.UTC().Format("20060102T150405Z"))
	if err := copyDir(o.Dir, backup); err != nil {
		return "", fmt.Errorf("copying what is there to %s: %w: nothing was changed", backup, err)
	}
	return backup, r.run(stores, owner, o.Logger)
}

// recovery is a state machine whose snapshot has other hubs than what it applied.
type recovery struct {
	*machine
	hubs    []Hub
	members raft.Configuration
}

// replay brings the machine to the end of the log.
func (r *recovery) replay(s *Stores) error {
	if err := s.load(r.machine); err != nil {
		return err
	}
	last, err := s.Log.LastIndex()
	if err != nil {
		return err
	}
	snapshot, err := s.snapshot() // which may end with an entry that no state shows
	if err != nil {
		return err
	}
	apart, err := s.partsBehind(position{snapshot.Index, snapshot.Term})
	if err != nil {
		return err
	}
	if apart {
		last = snapshot.Index
	}
	first, err := s.Log.FirstIndex()
	if err != nil {
		return err
	}
	for i := max(r.state.Load().Index+1, snapshot.Index+1, first); i <= last && i > 0 && r.problem() == nil; i++ {
		var l raft.Log
		if err := s.Log.GetLog(i, &l); err != nil {
			return fmt.Errorf("entry %d of the control plane's log: %w", i, err)
		}
		r.Apply(&l)
	}
	return r.problem()
}

// plan checks the peers against what the group knows.
func (r *recovery) plan(owner identity, peers []Peer) error {
	state := r.state.Load()
	if state.Cluster == "" {
		return refuse(CodeNotBootstrapped, "hub %q has never been in a group: there is nothing to recover; start it", owner.NodeID)
	}
	if !slices.ContainsFunc(peers, func(p Peer) bool { return p.ID == owner.NodeID }) {
		return refuse(CodeUnknownHub, "hub %q, whose directory this is, isn't among the peers: add it", owner.NodeID)
	}
	ids, addresses, voters := map[string]bool{}, map[string]bool{}, 0
	for _, p := range peers {
		h := state.Hubs[p.ID]
		if h == nil {
			return refuse(CodeUnknownHub, "the group knows no hub %q: name those that it knows (%s); others join it when it works again", p.ID, names(state.Hubs))
		}
		known := *h
		if p.Address != "" {
			known.Raft = p.Address
		}
		if known.Raft == "" {
			known.Raft = string(nowhere)
		} else if err := checkAdvertised(known.Raft); err != nil {
			return refuse(CodeBadRequest, "hub %q: %v", p.ID, err)
		}
		if ids[p.ID] || addresses[known.Raft] {
			return refuse(CodeBadRequest, "hub %q or its address %s is there twice: name each once", p.ID, known.Raft)
		}
		ids[p.ID], addresses[known.Raft] = true, true
		known.Voter = !p.NonVoter
		server := raft.Server{Suffrage: raft.Nonvoter, ID: serverID(known.ID, known.Instance), Address: raft.ServerAddress(known.Raft)}
		if known.Voter {
			server.Suffrage = raft.Voter
			voters++
		}
		r.members.Servers = append(r.members.Servers, server)
		if known.Raft == string(nowhere) {
			known.Raft = ""
		}
		r.hubs = append(r.hubs, known)
	}
	if voters == 0 {
		return refuse(CodeLastVoter, "none of the peers has a vote: at least one needs it")
	}
	return nil
}

// run writes the new group.
func (r *recovery) run(s *Stores, owner identity, log hclog.Logger) error {
	if err := s.settle(); err != nil {
		return err
	}
	_, t := raft.NewInmemTransport(nowhere)
	c := raft.DefaultConfig()
	c.LocalID = serverID(owner.NodeID, owner.InstanceID)
	c.Logger = newSparse(log.Named("raft"))
	again := &recovery{machine: newMachine(""), hubs: r.hubs} // RecoverCluster applies all once more
	if err := raft.RecoverCluster(c, again, s.Log, s.Stable, s.Snapshots, t, r.members); err != nil {
		return fmt.Errorf("recovering the group: %w", err)
	}
	return nil
}

// Snapshot implements raft.FSM.
func (r *recovery) Snapshot() (raft.FSMSnapshot, error) {
	if err := r.problem(); err != nil {
		return nil, err
	}
	s, err := r.state.Load().withHubs(r.hubs)
	return frozen{s, "recover"}, err
}

// withHubs is the state with other members.
func (s *State) withHubs(hubs []Hub) (*State, error) {
	kept := map[string]bool{}
	var err error
	for _, h := range hubs {
		kept[h.ID] = true
		if s, err = s.apply(s.Index, SetHub{Hub: h}); err != nil {
			return nil, err
		}
	}
	for id := range s.Hubs {
		if kept[id] {
			continue
		}
		if s, err = s.apply(s.Index, RemoveHub{ID: id}); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// copyDir copies a directory, durably, into a new one.
func copyDir(from, to string) error {
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return err
	}
	return filepath.WalkDir(to, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return syncName(name, d.IsDir())
	})
}

// syncName makes a file or a directory durable.
func syncName(name string, dir bool) error {
	if dir {
		return syncDir(name)
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
