package server

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/replicator"
	"github.com/unisondb/unisondb/server/httpapi"
)

// States of a namespace that the kernel doesn't know.
const (
	stateMissing       = "missing"
	stateBootstrapping = "bootstrapping"
)

// codeSuperseded is the kernel's for a handle whose place another one has taken.
const codeSuperseded = "NAMESPACE_SUPERSEDED"

// namespaces is what the node knows of its namespaces beyond the kernel: which
// it made, and which it refuses.
type namespaces struct {
	node *Node

	// making is held while a namespace is made, so that node.json is written by
	// one at a time. It is taken before mu.
	making sync.Mutex

	mu      sync.Mutex
	id      identity
	refused map[string]*httpapi.StateError // made here, and gone or another's
	checked map[string]bool                // made here, and its lineage is the one in node.json
	used    map[string]bool                // asked for since the start
	failed  map[string]bool                // couldn't be opened when they were last looked at
}

// startNamespaces settles whose the data directory is, and makes on a hub the
// namespaces that the configuration names and that were never made.
func (n *Node) startNamespaces(context.Context) error {
	onDisk, err := n.db.Namespaces()
	if err != nil {
		return fmt.Errorf("listing the namespaces: %w: check that this user may read %s", err, n.cfg.DataDir)
	}
	id, err := n.settleIdentity(len(onDisk) > 0)
	if err != nil {
		return err
	}
	s := &n.names
	s.id, s.refused, s.checked = id, map[string]*httpapi.StateError{}, map[string]bool{}
	s.used, s.failed = map[string]bool{}, map[string]bool{}
	if n.role != RoleHub {
		return nil
	}
	for name := range id.Made {
		if !slices.Contains(onDisk, name) {
			s.refused[name] = missing(name)
			n.log.Error("namespace is missing", "namespace", name, "reason", s.refused[name].Reason)
		}
	}
	return s.makeConfigured(onDisk)
}

func missing(name string) *httpapi.StateError {
	return &httpapi.StateError{Namespace: name, State: stateMissing, Code: httpapi.CodeNamespaceMissing,
		Reason: "this node made it and its data is gone from namespaces/" + name + " in the data directory: stop the node and put the data back from a backup, " +
			"or make it anew and empty, as another lineage, by 'unisondb operator namespace create -replace " + name + "'; that isn't done by itself"}
}

// settleIdentity reads node.json, or writes it on a first start.
func (n *Node) settleIdentity(hasData bool) (identity, error) {
	name := n.path(identityName)
	id, found, err := readIdentity(n.fs, name)
	switch {
	case err != nil:
		return id, err
	case !found && hasData:
		return id, fmt.Errorf("%w: %s is gone, but the data directory holds namespaces: restore it from a backup of this directory, or move the namespaces aside to begin with an empty node", dbkernel.ErrDamaged, name)
	case !found:
		if id, err = newIdentity(n.cfg.NodeID, n.role); err != nil {
			return id, err
		}
		return id, id.write(n.fs, name)
	case id.Role != n.role:
		return id, fmt.Errorf("the data directory %s belongs to a %s, and this node was started as a %s: use another data_dir, or start it as before", n.cfg.DataDir, id.Role, n.role)
	}
	return id, n.checkNodeID(id)
}

// checkNodeID compares the configured name with the one that the directory has
// had from its first start. A name that is only the default follows the directory, for host
// names change.
func (n *Node) checkNodeID(id identity) error {
	if n.cfg.NodeID == id.NodeID || n.cfg.NodeID == "" {
		return nil
	}
	if host, err := os.Hostname(); err == nil && host == n.cfg.NodeID {
		n.log.Warn("host name changed; the node keeps its id", "node_id", id.NodeID, "host_name", host)
		return nil
	}
	return fmt.Errorf("the data directory %s belongs to node %q, and node_id is %q: set node_id = %q, or use another data_dir", n.cfg.DataDir, id.NodeID, n.cfg.NodeID, id.NodeID)
}

// makeConfigured makes what the configuration names and never was made. What
// is on disk and not in node.json was made just before a crash, and is listed, too.
func (s *namespaces) makeConfigured(onDisk []string) error {
	made := map[string]dbkernel.Lineage{}
	for _, name := range onDisk {
		if _, listed := s.id.Made[name]; !listed {
			if err := s.adopt(name, made); err != nil {
				return err
			}
		}
	}
	for _, ns := range s.node.cfg.Namespaces {
		if _, listed := s.id.Made[ns.Name]; listed || slices.Contains(onDisk, ns.Name) {
			continue
		}
		lineage, err := s.create(ns.Name)
		if err != nil {
			return err
		}
		made[ns.Name] = lineage
	}
	return s.list(made)
}

// adopt notes a namespace that is on disk. One that can't be opened is left for
// the next start: the node goes on without it.
func (s *namespaces) adopt(name string, made map[string]dbkernel.Lineage) error {
	ns, err := s.node.db.Namespace(name)
	if err != nil {
		return err
	}
	if status := ns.Status(); !status.Unreadable {
		made[name] = status.Lineage
	}
	return nil
}

// create makes a namespace's files, durably.
func (s *namespaces) create(name string) (dbkernel.Lineage, error) {
	var lineage dbkernel.Lineage
	if _, err := rand.Read(lineage[:]); err != nil {
		return lineage, err
	}
	_, err := s.node.db.Create(name, lineage)
	return lineage, err
}

// list writes namespaces that are on disk into node.json.
func (s *namespaces) list(made map[string]dbkernel.Lineage) error {
	if len(made) == 0 {
		return nil
	}
	return s.note(func(id *identity) { maps.Copy(id.Made, made) })
}

// note changes node.json, durably. Its callers take turns by making.
func (s *namespaces) note(change func(*identity)) error {
	id := s.id.clone()
	change(&id)
	if err := id.write(s.node.fs, s.node.path(identityName)); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.id = id
	return nil
}

func (s *namespaces) nodeID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id.NodeID
}

func (s *namespaces) instanceID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id.InstanceID
}

// all lists the namespaces that the node has, or should have, sorted.
func (s *namespaces) all() []string {
	names, err := s.node.db.Namespaces()
	if err != nil {
		s.node.log.Error("listing the namespaces failed", "error", err)
	}
	names = append(names, s.node.followed...)
	s.mu.Lock()
	for name := range s.refused {
		names = append(names, name)
	}
	s.mu.Unlock()
	slices.Sort(names)
	return slices.Compact(names)
}

// Names lists the namespaces that the node has, or should have, sorted. It
// implements httpapi.Node.
func (n *Node) Names() []string { return n.names.all() }

// Namespace returns a namespace that the node serves. It implements httpapi.Node.
func (n *Node) Namespace(name string) (*dbkernel.Namespace, error) {
	ns, err := n.names.open(name)
	if errors.Is(err, dbkernel.ErrNamespaceNotFound) && slices.Contains(n.followed, name) {
		return nil, &httpapi.StateError{Namespace: name, State: stateBootstrapping, Code: httpapi.CodeNotReady, RetryAfter: time.Second,
			Reason: "this node follows it and has nothing of it yet: try again when its upstream was reached"}
	}
	return ns, err
}

// open is a namespace that somebody asks for.
func (s *namespaces) open(name string) (*dbkernel.Namespace, error) {
	ns, err := s.look(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !errors.Is(err, dbkernel.ErrNamespaceNotFound) {
		s.used[name] = true
	}
	return ns, err
}

// look opens a namespace, and compares it at its first use with what the node
// knows of it.
func (s *namespaces) look(name string) (*dbkernel.Namespace, error) {
	s.mu.Lock()
	refused, lineage, checked := s.refused[name], s.id.Made[name], s.checked[name]
	s.mu.Unlock()
	if refused != nil {
		return nil, refused
	}
	ns, err := s.node.db.Namespace(name)
	if err != nil || checked {
		return ns, err
	}
	err = s.check(ns, lineage)
	if errors.Is(err, dbkernel.ErrSuperseded) { // between the two calls
		if ns, err = s.node.db.Namespace(name); err == nil {
			err = s.check(ns, lineage)
		}
	}
	if err != nil {
		return nil, err
	}
	return ns, nil
}

// recheck makes the next use of a namespace look at it anew: another one has
// taken its place.
func (s *namespaces) recheck(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.checked, name)
	delete(s.failed, name)
}

func (s *namespaces) hasFailed(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed[name]
}

// unusable lists the namespaces that are refused, and those that couldn't be opened.
func (s *namespaces) unusable() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := slices.AppendSeq(slices.Collect(maps.Keys(s.failed)), maps.Keys(s.refused))
	slices.Sort(names)
	return slices.Compact(names)
}

// inUse lists the namespaces that were asked for since the start, and those that
// are refused.
func (s *namespaces) inUse() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := slices.AppendSeq(slices.Collect(maps.Keys(s.used)), maps.Keys(s.refused))
	slices.Sort(names)
	return slices.Compact(names)
}

// check opens a namespace and compares it with what node.json says was made here;
// made is zero for what wasn't. Data of another history is refused: what reads or follows
// it would take the one for the other.
func (s *namespaces) check(ns *dbkernel.Namespace, made dbkernel.Lineage) error {
	status := ns.Status()
	if status.Code == codeSuperseded {
		return dbkernel.ErrSuperseded
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if status.Unreadable {
		s.failed[ns.Name()] = true
		return s.node.notOpened(status)
	}
	delete(s.failed, ns.Name())
	if made.IsZero() || status.Lineage == made {
		s.checked[ns.Name()] = true
		return nil
	}
	refused := &httpapi.StateError{Namespace: ns.Name(), State: string(dbkernel.StateQuarantined), Code: replicator.CodeLineageMismatch,
		Reason: fmt.Sprintf("this node made it with lineage %s, and the data on disk is of lineage %s: stop the node and put the data back that belongs to it, "+
			"or set what is there aside and make the namespace anew and empty by 'unisondb operator namespace create -replace %s'", made, status.Lineage, ns.Name())}
	s.refused[ns.Name()] = refused
	return refused
}

// notOpened puts the kernel's reason why a namespace can't be opened into the words
// of a refusal. What an owner has lost is missing, whichever part of it is gone.
func (n *Node) notOpened(s dbkernel.Status) *httpapi.StateError {
	state := string(s.State)
	if s.Code == httpapi.CodeNamespaceMissing && n.role == RoleHub {
		state = stateMissing
	}
	return &httpapi.StateError{Namespace: s.Name, State: state, Code: s.Code, Reason: s.Reason}
}

// CreateNamespace makes a namespace that this node owns, or replaces one whose
// data is lost. It implements httpapi.Node.
func (n *Node) CreateNamespace(ctx context.Context, name string, replace bool) error {
	if n.role != RoleHub {
		return fmt.Errorf("%w: a relayer makes no namespaces: create it on the hub and name it in an upstream block here", dbkernel.ErrReadOnly)
	}
	s := &n.names
	s.making.Lock()
	defer s.making.Unlock()
	if replace {
		return s.replace(ctx, name)
	}
	if refused := s.refusal(name); refused != nil {
		return refused
	}
	lineage, err := s.create(name)
	if err != nil {
		return err
	}
	return s.list(map[string]dbkernel.Lineage{name: lineage})
}

// Owner names who takes writes to a namespace, or else who is nearer to them
// than this node. It implements httpapi.Node.
func (n *Node) Owner(name string) string {
	if owner := n.knownOwner(name); owner != "" {
		return owner
	}
	s := n.sink(name)
	return cmp.Or(s.Source, s.Address)
}

// knownOwner is the node id of a namespace's owner; empty before anybody has told.
func (n *Node) knownOwner(name string) string {
	if n.role == RoleHub {
		return n.ID()
	}
	return n.sink(name).Owner
}

// ownerReport is what the node tells its followers of a namespace's owner.
func (n *Node) ownerReport(name string) replicator.OwnerReport {
	if n.role == RoleHub {
		return replicator.OwnerReport{NodeID: n.ID()}
	}
	for _, up := range n.upstreams {
		if r := up.Owner(name); r.Hops > 0 {
			return r
		}
	}
	return replicator.OwnerReport{}
}

// sink is how following a namespace goes; zero where it isn't followed.
func (n *Node) sink(name string) replicator.SinkStatus {
	for _, s := range n.sinks() {
		if s.Namespace == name {
			return s
		}
	}
	return replicator.SinkStatus{}
}

// refusal is why a namespace isn't served, whatever is on disk; nil: it is.
func (s *namespaces) refusal(name string) *httpapi.StateError {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused[name]
}
