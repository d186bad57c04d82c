package server

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/replicator"
	"github.com/unisondb/unisondb/server/httpapi"
	"github.com/unisondb/unisondb/server/internal/placement"
	"github.com/unisondb/unisondb/server/topology"
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
	// disputed are those that are refused because the group knows them as another one's.
	disputed map[string]bool
	quotas   map[string]dbkernel.Quota
}

// startNamespaces settles whose the data directory is, and what it has.
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
	s.used, s.failed, s.disputed = map[string]bool{}, map[string]bool{}, map[string]bool{}
	s.quotas = map[string]dbkernel.Quota{}
	for name := range id.Made {
		n.places.set(name, place{role: placement.Own})
		if !slices.Contains(onDisk, name) {
			s.refused[name] = missing(name)
			n.log.Error("namespace is missing", "namespace", name, "reason", s.refused[name].Reason)
		}
	}
	if err := s.configureKernel(); err != nil {
		return err
	}
	return s.adoptAll(onDisk)
}

// startOwned makes the namespaces that the configuration has this node own and that were never
// made. A hub of a larger group asks that one first.
func (n *Node) startOwned(context.Context) error {
	s := &n.names
	s.making.Lock()
	defer s.making.Unlock()
	made := map[string]dbkernel.Lineage{}
	for _, name := range n.toOwn() {
		if !s.made(name).IsZero() || s.isPlaced(name) || n.group != nil && n.group.State().Namespaces[name] == nil && wasDeleted(n.group.State(), name) {
			continue
		}
		lineage, err := newLineage()
		if err != nil {
			return err
		}
		switch err := s.create(name, lineage); {
		case errors.Is(err, dbkernel.ErrNamespaceExists): // it can't be opened, or it is a copy: its status says so
		case err != nil:
			return err
		default:
			made[name] = lineage
		}
	}
	return s.list(made)
}

// configureKernel tells the kernel whose the namespaces are, before it opens any.
func (s *namespaces) configureKernel() error {
	n := s.node
	for _, ns := range n.cfg.Namespaces {
		s.quotas[ns.Name] = quotaOf(ns.Quota)
	}
	names := slices.Concat(slices.Collect(maps.Keys(s.id.Made)), slices.Collect(maps.Keys(s.id.Placed)), n.toOwn())
	for _, ns := range n.cfg.Namespaces {
		names = append(names, ns.Name)
	}
	for _, name := range names {
		_, made := s.id.Made[name]
		_, placed := s.id.Placed[name]
		replica := !made && (placed || n.role == RoleRelayer && !slices.Contains(n.toOwn(), name))
		if err := n.configure(name, replica); err != nil {
			return err
		}
	}
	return nil
}

// toOwn are the namespaces that the configuration has this node own without asking anybody.
func (n *Node) toOwn() []string {
	if n.role == RoleRelayer {
		return n.cfg.Relayer.Own
	}
	if !n.alone() {
		return nil
	}
	var names []string
	for _, ns := range n.cfg.Namespaces {
		names = append(names, ns.Name)
	}
	return names
}

// alone says whether a hub is, or begins, a group of one.
func (n *Node) alone() bool {
	r := n.cfg.Raft
	return !n.names.grouped() && (r == nil || r.BootstrapExpect <= 1 && len(r.Join) == 0)
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

// adoptAll lists what is on disk and not in node.json: it was made just before a crash.
func (s *namespaces) adoptAll(onDisk []string) error {
	made := map[string]dbkernel.Lineage{}
	for _, name := range onDisk {
		if s.mayAdopt(name) {
			if err := s.adopt(name, made); err != nil {
				return err
			}
		}
	}
	return s.list(made)
}

// mayAdopt says whether a namespace that is on disk and that node.json doesn't list can only be
// one that was made here just before a crash. On a relayer it may be a copy as well.
func (s *namespaces) mayAdopt(name string) bool {
	_, listed := s.id.Made[name]
	return !listed && !s.isPlaced(name) && (s.node.role == RoleHub || slices.Contains(s.node.toOwn(), name))
}

// adopt notes a namespace that is on disk. One that can't be opened is left for
// the next start: the node goes on without it.
func (s *namespaces) adopt(name string, made map[string]dbkernel.Lineage) error {
	ns, err := s.node.db.Namespace(name)
	if err != nil {
		return err
	}
	switch status := ns.Status(); {
	case status.Unreadable:
	case s.node.role == RoleRelayer && status.LSN > emptyLSN:
		s.refused[name] = &httpapi.StateError{Namespace: name, State: string(dbkernel.StateQuarantined), Code: replicator.CodeLineageMismatch,
			Reason: fmt.Sprintf("an own block names it, and what is here is a copy of lineage %s, which somebody else owns: "+
				"give what this relayer owns another name, or stop it and move namespaces/%s out of the data directory", status.Lineage, name)}
		s.node.log.Error("namespace isn't this relayer's own", "namespace", name, "reason", s.refused[name].Reason)
	default:
		made[name] = status.Lineage
	}
	return nil
}

// emptyLSN is the highest of a namespace that nobody has written to: that of the record that begins its
// epoch.
const emptyLSN = 1

func newLineage() (lineage dbkernel.Lineage, err error) {
	_, err = rand.Read(lineage[:])
	return lineage, err
}

// create makes a namespace's files, durably.
func (s *namespaces) create(name string, lineage dbkernel.Lineage) error {
	ns, err := s.node.db.Create(name, lineage)
	if err != nil || s.node.role == RoleHub {
		return err
	}
	// An edge's log is kept for its upstream from the first record on.
	return ns.HoldFor(replicator.HoldName, 0)
}

// makeAs makes a namespace that this node is to own, of the lineage that the group has given
// it. What a crash has left of an earlier attempt is taken for made.
func (s *namespaces) makeAs(name string, lineage dbkernel.Lineage) error {
	s.making.Lock()
	defer s.making.Unlock()
	err := s.create(name, lineage)
	if errors.Is(err, dbkernel.ErrNamespaceExists) {
		if here := lineageOf(s.node.db.Namespace(name)); here != lineage {
			return fmt.Errorf("namespace %q is to be made with lineage %s, and what is on disk has lineage %s: stop the node and move namespaces/%s out of the data directory, if nobody needs it", name, lineage, here, name)
		}
		err = nil
	}
	if err != nil {
		return err
	}
	return s.list(map[string]dbkernel.Lineage{name: lineage})
}

// lose notes that a namespace was made by this hub with another data directory, and is missing in
// this one. To make it anew under its lineage would have the copies that others have cut off.
func (s *namespaces) lose(name string, lineage dbkernel.Lineage) error {
	s.making.Lock()
	defer s.making.Unlock()
	why := missing(name)
	s.refuse(name, why)
	s.node.log.Error("namespace is missing", "namespace", name, "lineage", lineage, "reason", why.Reason)
	return s.list(map[string]dbkernel.Lineage{name: lineage})
}

// list writes namespaces that this node has, or is to have, into node.json.
func (s *namespaces) list(made map[string]dbkernel.Lineage) error {
	if len(made) == 0 {
		return nil
	}
	err := s.note(func(id *identity) { maps.Copy(id.Made, made) })
	if err != nil {
		return err
	}
	for name := range made {
		s.node.places.set(name, place{role: placement.Own})
	}
	return nil
}

// made is the lineage of what this node made as the owner; zero: it didn't.
func (s *namespaces) made(name string) dbkernel.Lineage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id.Made[name]
}

// grouped says whether this hub has others in its group.
func (s *namespaces) grouped() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id.Grouped
}

// isPlaced says whether the control plane has this node replicate a namespace.
func (s *namespaces) isPlaced(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, placed := s.id.Placed[name]
	return placed
}

// notePlaced writes into node.json which copies this node is to have, before anything of them
// arrives. st, if not nil, is the state that says so.
func (s *namespaces) notePlaced(wanted map[string]placement.Want, st *topology.State) error {
	s.making.Lock()
	defer s.making.Unlock()
	s.mu.Lock()
	id := s.id.clone()
	s.mu.Unlock()
	changed := false
	for name, w := range wanted {
		if w.Role != placement.Follow && w.Role != placement.Receive || !id.Made[name].IsZero() {
			continue
		}
		c := placedCopy{Receive: w.Role == placement.Receive, Owner: w.Owner, Sources: w.Sources}
		if old, ok := id.Placed[name]; !ok || !reflect.DeepEqual(old, c) {
			id.Placed[name], changed = c, true
		}
	}
	grouped := st != nil && (id.Grouped || len(st.Hubs) > 1)
	if st != nil && (id.Cluster != st.Cluster || id.Grouped != grouped) {
		changed = true
	}
	if !changed {
		return nil
	}
	return s.note(func(to *identity) {
		to.Placed = id.Placed
		if st != nil {
			to.Cluster, to.Index, to.Grouped = st.Cluster, st.Index, grouped
		}
	})
}

// forget drops what was noted of a namespace that isn't here any more.
func (s *namespaces) forget(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.used, name)
	delete(s.failed, name)
	delete(s.checked, name)
}

// dispute refuses a namespace until the group agrees with this node about it; nil: it does.
func (s *namespaces) dispute(name string, why *httpapi.StateError) {
	s.mu.Lock()
	was := s.disputed[name]
	s.mu.Unlock()
	if !was && why == nil {
		return
	}
	s.refuse(name, why)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.disputed, name)
	if why != nil {
		s.disputed[name] = true
	}
}

func (s *namespaces) isDisputed(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.disputed[name]
}

// setQuota is what the group says a namespace may take; it goes before the node's own files.
func (s *namespaces) setQuota(name string, q dbkernel.Quota) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.quotas[name] = q
}

func (s *namespaces) quotaOf(name string) dbkernel.Quota {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.quotas[name]
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
	names = append(names, s.node.copies()...)
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
	if errors.Is(err, dbkernel.ErrNamespaceNotFound) && n.replica(name) && n.places.role(name) != placement.None {
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
	if s.Code == httpapi.CodeNamespaceMissing && !n.replica(s.Name) {
		state = stateMissing
	}
	return &httpapi.StateError{Namespace: s.Name, State: state, Code: s.Code, Reason: s.Reason}
}

// Owner names who takes writes to a namespace, or else who is nearer to them
// than this node. It implements httpapi.Node.
func (n *Node) Owner(name string) string { return n.ownerBy(name, n.sink(name)) }

// ownerBy is Owner by how following the namespace goes; nil: it isn't followed.
func (n *Node) ownerBy(name string, sink *replicator.SinkStatus) string {
	if !n.replica(name) && !n.elsewhere(name) {
		return n.ID()
	}
	if owner := n.ownerOf(name).ID; owner != "" || sink == nil {
		return owner
	}
	return cmp.Or(sink.Owner, sink.Source, sink.Address)
}

// ownerReport is what the node tells its followers of a namespace's owner.
func (n *Node) ownerReport(name string) replicator.OwnerReport {
	switch at, _ := n.places.get(name); {
	case !n.replica(name):
		return replicator.OwnerReport{NodeID: n.ID()}
	case at.link != nil:
		if r := at.link.up.Owner(name); r.Hops > 0 {
			return r
		}
	case at.role == placement.Receive && n.rpc != nil:
		return n.rpc.ReceivedOwner(name)
	}
	return replicator.OwnerReport{}
}

// sink is how following a namespace goes; nil where it isn't followed.
func (n *Node) sink(name string) *replicator.SinkStatus {
	at, _ := n.places.get(name)
	var all []replicator.SinkStatus
	switch {
	case at.link != nil:
		all = at.link.up.Status()
	case at.role == placement.Receive && n.rpc != nil:
		all = n.rpc.Received()
	}
	for i := range all {
		if all[i].Namespace == name {
			return &all[i]
		}
	}
	return nil
}

// refusal is why a namespace isn't served, whatever is on disk; nil: it is.
func (s *namespaces) refusal(name string) *httpapi.StateError {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused[name]
}
