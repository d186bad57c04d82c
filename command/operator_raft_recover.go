package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/unisondb/unisondb/server/topology"
)

// raftFolder is the folder of the control plane in a hub's data directory.
const raftFolder = "raft"

type operatorRaftRecoverCommand struct {
	*Meta
	yesFlag
	dataDir string
	peers   peersFlag
}

func (c *operatorRaftRecoverCommand) spec() spec {
	return spec{
		synopsis: "Let a group go on that lost most hubs",
		about: "For a group that has lost most of its voting hubs for good, so that none can lead. It makes the hubs that -peers names the group, in the data directory of a hub that is stopped; no node is asked. " +
			"Use the hub whose log reaches furthest ('operator raft list-peers -stale' on each says how far it is). What only lost hubs knew of is lost; what this one's log holds counts as agreed on. " +
			"What was there is copied first, beside it. Name that hub alone, start it, and let the others join it with empty raft directories. Several are for hubs whose logs end with the same entry: each gets the same treatment with the same -peers. Data of namespaces isn't touched.",
		examples: []string{
			"unisondb operator raft recover -data-dir=/var/lib/unisondb -peers=hub-a",
			"unisondb operator raft recover -data-dir=data -peers=a,b=10.1.1.2:4002",
		},
	}
}

func (c *operatorRaftRecoverCommand) flags(fs *flag.FlagSet) {
	c.jsonFlag(fs)
	c.yesFlag.define(fs)
	fs.StringVar(&c.dataDir, "data-dir", "", "The data `directory` of the hub, as its configuration has it. The hub has to be stopped.")
	fs.Var(&c.peers, "peers", "The `hubs` of the group from here on, this one among them: ids with commas between them, as ID=HOST:PORT where the Raft address changes, and with /nonvoter behind one that gets no vote.")
}

// recovered is what the command has done.
type recovered struct {
	DataDir string          `json:"data_dir"`
	Backup  string          `json:"backup"` // of what was there
	Peers   []topology.Peer `json:"peers"`
}

func (c *operatorRaftRecoverCommand) run(context.Context, []string) error {
	switch {
	case c.dataDir == "":
		return usagef("-data-dir is missing: name the data directory of the hub that is to go on")
	case len(c.peers) == 0:
		return usagef("-peers is missing: name the hubs that the group has from here on")
	}
	dir := filepath.Join(c.dataDir, raftFolder)
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return localf("%s has no control plane (%s): give the data_dir of a hub that was in the group", c.dataDir, dir)
	} else if err != nil {
		return localf("look at %s: %w", dir, causeOf(err))
	}
	if err := c.confirm(c.yesFlag, fmt.Sprintf("The group of the hub in %s is to consist of %s from here on. What only other hubs knew of the control plane is lost.", c.dataDir, c.peers.String())); err != nil {
		return err
	}
	backup, err := topology.Recover(topology.RecoverOptions{Dir: dir, Peers: c.peers, Now: time.Now(), Logger: c.recoverLogger()})
	if err != nil {
		return localf("recover the group: %w", err)
	}
	if c.asJSON {
		return c.printJSON(recovered{c.dataDir, backup, c.peers})
	}
	c.message("The group consists of %s. What was there is in %s. Start this hub first.", c.peers.String(), backup)
	return nil
}

// recoverLogger shows what goes wrong inside.
func (c *operatorRaftRecoverCommand) recoverLogger() hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Output: c.stderr, Level: hclog.Error})
}

// peersFlag are the hubs of a group.
type peersFlag []topology.Peer

func (p *peersFlag) String() string {
	var parts []string
	for _, peer := range *p {
		text := peer.ID
		if peer.Address != "" {
			text += "=" + peer.Address
		}
		if peer.NonVoter {
			text += nonvoterSuffix
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ",")
}

const nonvoterSuffix = "/nonvoter"

func (p *peersFlag) Set(s string) error {
	list, err := parseList(s)
	if err != nil {
		return err
	}
	for _, text := range list {
		text, nonVoter := strings.CutSuffix(text, nonvoterSuffix)
		id, address, hasAddress := strings.Cut(text, "=")
		if id == "" || hasAddress && address == "" {
			return fmt.Errorf("%q is no hub: write it as ID or ID=HOST:PORT", text)
		}
		*p = append(*p, topology.Peer{ID: id, Address: address, NonVoter: nonVoter})
	}
	return nil
}
