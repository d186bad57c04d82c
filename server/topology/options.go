package topology

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// Timeouts are how long the hubs wait for each other. Those of the defaults hold on
// machines that are slow and noisy: a leader that is gone is replaced after some seconds, and
// nothing of the data path waits for that.
type Timeouts struct {
	Heartbeat time.Duration // without word of a leader, after which one is elected
	Election  time.Duration // after which an election is held again
	Lease     time.Duration // without word of most voters, after which a leader gives up
	Commit    time.Duration // after which, or twice that, followers are told what is committed: how old their State is
	IO        time.Duration // one message between hubs
	Retry     time.Duration // between two attempts to join
	Leader    time.Duration // how long a proposal or a read waits for a leader
	HandOver  time.Duration // how long Stop waits for another leader
	Tick      time.Duration // between two looks of the leader at the members
	Noted     time.Duration // how far what the disk knows to be agreed on may lag
	Dead      time.Duration // after which a hub that is away is removed, where that endangers nothing
}

// DefaultTimeouts are used where Options has none.
func DefaultTimeouts() Timeouts {
	return Timeouts{
		Heartbeat: time.Second, Election: time.Second, Lease: time.Second, Commit: 25 * time.Millisecond,
		IO: 10 * time.Second, Retry: time.Second, Leader: 10 * time.Second, HandOver: 3 * time.Second,
		Tick: 250 * time.Millisecond, Noted: 200 * time.Millisecond, Dead: 72 * time.Hour,
	}
}

// pollLeader is between two looks whether there is a leader, by who waits for one.
const pollLeader = 20 * time.Millisecond

// nowhere is the address of a hub that listens nowhere.
const nowhere raft.ServerAddress = "nowhere"

// complete fills in the defaults, and refuses what can't work.
func (o *Options) complete() error {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Timeouts == nil {
		t := DefaultTimeouts()
		o.Timeouts = &t
	}
	if o.Advertise == "" {
		o.Advertise = o.Address
	}
	switch {
	case o.NodeID == "" || o.InstanceID == "":
		return errors.New("topology: a hub needs a node id and an instance id")
	case o.Dir == "" && o.Stores == nil:
		return errors.New("topology: a hub needs a directory for its control plane")
	case o.Address == "" && o.Transport == nil && (len(o.Join) > 0 || o.BootstrapExpect > 1):
		return errors.New("a hub that joins others has to be reached by them: set address in the raft block")
	case o.BootstrapExpect > 1 && !o.Voter:
		return errors.New("bootstrap_expect counts hubs with a vote, and voter = false takes this one's: set bootstrap_expect on the voters alone")
	case o.BootstrapExpect > 1 && len(o.Join) == 0:
		return fmt.Errorf("bootstrap_expect = %d waits for other hubs, and join names none: name the gRPC address of another one there", o.BootstrapExpect)
	case o.beginsAlone() && !o.Voter:
		return errors.New("voter = false on a hub that begins a group leaves that without a vote: name another hub in join, or leave voter out")
	case (len(o.Join) > 0 || o.BootstrapExpect > 1) && o.GRPC == "":
		return errors.New("a hub that joins others has to be reached by gRPC: set address or advertise of listener \"grpc\"")
	}
	if o.Address == "" {
		return nil
	}
	return checkAdvertised(o.Advertise)
}

// beginsAlone says whether this hub needs no other one to begin a group.
func (o *Options) beginsAlone() bool { return o.BootstrapExpect <= 1 && len(o.Join) == 0 }

// checkAdvertised refuses an address that other hubs can't dial.
func checkAdvertised(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("the raft address %q has no host and port: write host:port", address)
	}
	ip := net.ParseIP(host)
	if host == "" || port == "" || port == "0" || ip != nil && ip.IsUnspecified() {
		return fmt.Errorf("other hubs can't dial the raft address %q: set advertise in the raft block to one that they can", address)
	}
	return nil
}

// serverID names a member to Raft: a wiped hub with the same node id is another one.
func serverID(id, instance string) raft.ServerID { return raft.ServerID(id + "/" + instance) }

// splitID is serverID's reverse.
func splitID(s raft.ServerID) (id, instance string) {
	at := strings.LastIndexByte(string(s), '/')
	if at < 0 {
		return string(s), ""
	}
	return string(s[:at]), string(s[at+1:])
}
