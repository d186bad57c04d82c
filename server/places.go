package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/replicator"
	"github.com/unisondb/unisondb/server/config"
	"github.com/unisondb/unisondb/server/httpapi"
	"github.com/unisondb/unisondb/server/internal/placement"
	"github.com/unisondb/unisondb/server/topology"
)

// place is what the node does with a namespace at the moment.
type place struct {
	role placement.Role
	link *link // where it is streamed from; nil: it isn't, or its owner brings it
	// configured says that the node's own files name it: the control plane doesn't rule it.
	configured bool
	offered    *link // where it is offered
}

// places is what the node does with its namespaces.
type places struct {
	mu     sync.Mutex
	byName map[string]place
}

func (p *places) get(name string) (place, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ok := p.byName[name]
	return at, ok
}

func (p *places) role(name string) placement.Role {
	at, _ := p.get(name)
	return at.role
}

func (p *places) set(name string, at place) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byName == nil {
		p.byName = map[string]place{}
	}
	p.byName[name] = at
}

func (p *places) remove(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.byName, name)
}

// names lists those of some roles, sorted.
func (p *places) names(roles ...placement.Role) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var names []string
	for name, at := range p.byName {
		if slices.Contains(roles, at.role) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// replica says whether a namespace of this node comes from elsewhere.
func (n *Node) replica(name string) bool {
	switch n.places.role(name) {
	case placement.Own:
		return false
	case placement.Follow, placement.Receive:
		return true
	case placement.None:
	}
	return n.role == RoleRelayer // what a relayer once followed, or the data of something deleted
}

// copies are the namespaces that come from elsewhere, sorted.
func (n *Node) copies() []string { return n.places.names(placement.Follow, placement.Receive) }

// configuredHere says whether the node's own files rule a namespace: a relayer's upstream
// names it, or the relayer owns it.
func (n *Node) configuredHere(name string) bool {
	at, ok := n.places.get(name)
	return ok && (at.configured || n.role == RoleRelayer && at.role == placement.Own)
}

// resumePlaced has the node replicate what it did when it stopped, before the control plane
// has said anything.
func (n *Node) resumePlaced() {
	n.names.mu.Lock()
	placed := maps.Clone(n.names.id.Placed)
	n.names.mu.Unlock()
	for name, c := range placed {
		if n.configuredHere(name) {
			continue
		}
		w := placement.Want{Role: placement.Follow, Owner: c.Owner, Sources: c.Sources}
		if c.Receive {
			w = placement.Want{Role: placement.Receive, Owner: c.Owner}
		}
		if err := n.replicate(name, w); err != nil {
			n.log.Warn("namespace isn't followed as before", "namespace", name, "error", err)
		}
	}
}

// Place implements placement.Placer.
func (n *Node) Place(ctx context.Context, name string, w placement.Want) error {
	if err := n.clear(ctx, name, w.Gone); err != nil {
		return err
	}
	switch w.Role {
	case placement.Own:
		return n.own(ctx, name, w)
	case placement.Follow, placement.Receive:
		return n.replicate(name, w)
	case placement.None:
	}
	return n.takeAway(ctx, name, w)
}

// clear sets aside what is here of a history that was deleted.
func (n *Node) clear(ctx context.Context, name string, gone map[string]time.Time) error {
	if len(gone) == 0 {
		return nil
	}
	if err := n.dropStage(name, func(lineage string) bool { _, dropped := gone[lineage]; return dropped }); err != nil {
		return err
	}
	lineage, err := n.here(name)
	if err != nil {
		return err
	}
	until, ok := gone[lineage]
	if !ok {
		return nil
	}
	n.log.Info("namespace was deleted: its data is set aside", "namespace", name, "lineage", lineage, "until", until)
	return n.leave(ctx, name, "deleted", until)
}

// dropStage discards what has arrived of a copy that never was whole, where its lineage is no longer wanted. The
// streams that bring it end first.
func (n *Node) dropStage(name string, unwanted func(lineage string) bool) error {
	stage, err := n.db.Staged(name)
	if errors.Is(err, dbkernel.ErrNamespaceNotFound) || err == nil && !unwanted(stage.Lineage().String()) {
		return nil
	}
	if err == nil {
		err = n.release(name)
	}
	if err == nil {
		err = stage.Discard()
	}
	if err != nil {
		return fmt.Errorf("discarding what has arrived of namespace %q: %w", name, err)
	}
	return nil
}

// dropOther is dropStage for a node that has nothing whole of a namespace, and began a copy of another
// lineage than the group has.
func (n *Node) dropOther(name, lineage string) error {
	if _, err := n.db.Namespace(name); lineage == "" || !errors.Is(err, dbkernel.ErrNamespaceNotFound) {
		return nil
	}
	return n.dropStage(name, func(staged string) bool { return staged != lineage })
}

// here is the lineage of what this node has of a namespace: what it made, or else what is
// on disk; empty: nothing.
func (n *Node) here(name string) (string, error) {
	if made := n.names.made(name); !made.IsZero() {
		return made.String(), nil
	}
	ns, err := n.db.Namespace(name)
	if errors.Is(err, dbkernel.ErrNamespaceNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	status := ns.Status()
	if status.Unreadable {
		return "", nil // whatever it is, nothing says that it was deleted
	}
	return status.Lineage.String(), nil
}

// unassignedGrace is how long data is kept that was taken away from a node without being
// deleted.
const unassignedGrace = 24 * time.Hour

// takeAway ends what this node does with a namespace that isn't for it. What it has made
// itself, and nobody has deleted, stays: then two say that they own it, which is for a human.
func (n *Node) takeAway(ctx context.Context, name string, w placement.Want) error {
	if made := n.names.made(name); !made.IsZero() {
		return n.conflict(name, made, w)
	}
	if !n.names.isPlaced(name) {
		return nil
	}
	return n.leave(ctx, name, "not assigned to this node any more", time.Now().Add(unassignedGrace))
}

// conflict refuses a namespace that this node made and that the group knows as another one.
func (n *Node) conflict(name string, made dbkernel.Lineage, w placement.Want) error {
	err := &httpapi.StateError{Namespace: name, State: string(dbkernel.StateQuarantined), Code: replicator.CodeLineageMismatch,
		Reason: fmt.Sprintf("this node made it with lineage %s, and in the group of hubs it is of lineage %s and owned by %s %q: "+
			"to take part in that one, set what is here aside by 'unisondb operator namespace accept %s -lineage=%s'; to keep what is here, export it first",
			made, w.Lineage, w.Owner.Kind, w.Owner.ID, name, w.Lineage)}
	n.names.dispute(name, err)
	return err
}

// leave stops everything that this node does with a namespace and sets its data aside. It
// may be called again after an error or a crash: node.json forgets it last.
func (n *Node) leave(ctx context.Context, name, reason string, until time.Time) error {
	if err := n.release(name); err != nil {
		return err
	}
	if err := n.dropStage(name, func(string) bool { return true }); err != nil {
		return err
	}
	err := n.db.SetAsideUntil(ctx, name, reason, until)
	if err != nil && !errors.Is(err, dbkernel.ErrNamespaceNotFound) {
		return fmt.Errorf("setting namespace %q aside: %w", name, err)
	}
	n.names.making.Lock()
	defer n.names.making.Unlock()
	err = n.names.note(func(id *identity) {
		delete(id.Made, name)
		delete(id.Placed, name)
		delete(id.Accepted, name)
	})
	if err != nil {
		return err
	}
	n.names.dispute(name, nil)
	n.names.refuse(name, nil)
	n.names.forget(name)
	n.places.remove(name)
	return nil
}

// release ends the streams that bring a namespace, or take it elsewhere.
func (n *Node) release(name string) error {
	at, ok := n.places.get(name)
	if !ok {
		return nil
	}
	n.places.set(name, place{role: at.role, configured: at.configured})
	var errs []error
	if at.role == placement.Receive && n.rpc != nil {
		n.rpc.Drop(name)
	}
	if at.link != nil {
		at.link.up.Unfollow(name)
		errs = append(errs, n.links.release(at.link))
	}
	if at.offered != nil {
		at.offered.up.Withdraw(name)
		errs = append(errs, n.links.release(at.offered))
	}
	return errors.Join(errs...)
}

// own makes this node the one that takes writes to a namespace: it makes what was never made,
// and misses what an earlier data directory of this hub was to make.
func (n *Node) own(ctx context.Context, name string, w placement.Want) error {
	lineage, err := dbkernel.ParseLineage(w.Lineage)
	if err != nil {
		return fmt.Errorf("lineage of namespace %q: %w", name, err)
	}
	n.names.setQuota(name, w.Quota)
	if made := n.names.made(name); made == lineage {
		n.names.dispute(name, nil)
		n.places.set(name, place{role: placement.Own})
		return n.configure(name, false)
	} else if !made.IsZero() {
		return n.tellReplaced(ctx, name, made)
	}
	if n.names.isPlaced(name) {
		return n.notCopied(name)
	}
	if err := n.configure(name, false); err != nil {
		return err
	}
	if w.Instance != "" && w.Instance != n.names.instanceID() {
		return n.names.lose(name, lineage)
	}
	return n.names.makeAs(name, lineage)
}

// tellReplaced tells the group that this node has lost what it owned and made another history in its
// place. What others have of the old one stays until somebody accepts the new one there.
func (n *Node) tellReplaced(ctx context.Context, name string, made dbkernel.Lineage) error {
	n.places.set(name, place{role: placement.Own})
	ns := n.group.State().Namespaces[name]
	if ns == nil || ns.Owner != n.self() || ns.Lineage == made.String() {
		return nil // it has changed again: another placement is on its way
	}
	err := n.propose(ctx, topology.CreateNamespace{
		Name: name, Lineage: made.String(), Owner: ns.Owner, Settings: ns.Settings, Created: time.Now().UTC().Truncate(time.Second), Replace: true,
	})
	if err != nil {
		return fmt.Errorf("namespace %q was made anew here, and the group of hubs hasn't heard it: %w", name, err)
	}
	return nil
}

// notCopied refuses to become the owner of what was replicated here.
func (n *Node) notCopied(name string) error {
	return fmt.Errorf("namespace %q is a copy here, and this node is to own it, which isn't built yet in this version: delete it and create it again", name)
}

// replicate makes this node a copy of a namespace that another one owns.
func (n *Node) replicate(name string, w placement.Want) error {
	if made := n.names.made(name); !made.IsZero() {
		return n.conflict(name, made, w)
	}
	if err := n.names.notePlaced(map[string]placement.Want{name: w}, nil); err != nil {
		return err
	}
	if err := n.configure(name, true); err != nil {
		return err
	}
	if err := n.dropOther(name, w.Lineage); err != nil {
		return err
	}
	at, ok := n.places.get(name)
	if w.Role == placement.Receive || len(w.Sources) == 0 {
		if err := n.release(name); err != nil {
			return err
		}
		n.places.set(name, place{role: w.Role})
		return nil
	}
	r := routeOf(w.Sources)
	if ok && at.link != nil && at.link.key == r.key() {
		return nil
	}
	l, err := n.links.acquire(r)
	if err != nil {
		return err
	}
	if err := n.release(name); err != nil {
		return errors.Join(err, n.links.release(l))
	}
	n.places.set(name, place{role: placement.Follow, link: l})
	l.up.Follow(name)
	return nil
}

// configure tells the kernel how a namespace is stored and whose it is, before it is opened.
// A quota may change at any time.
func (n *Node) configure(name string, replica bool) error {
	o := dbkernel.NamespaceOptions{Replica: replica, Storage: storageOptions(n.storageOf(name))}
	if !replica {
		o.Quota = n.names.quotaOf(name)
	}
	if err := n.db.Configure(name, o); err != nil {
		return fmt.Errorf("namespace %q: %w", name, err)
	}
	return nil
}

// storageOf is how this node stores a namespace.
func (n *Node) storageOf(name string) config.Storage {
	if ns := n.blockOf(name); ns != nil {
		return ns.Storage
	}
	return n.cfg.Storage
}

// blockOf is the block of a namespace in the node's files, if there is one.
func (n *Node) blockOf(name string) *config.Namespace {
	for i := range n.cfg.Namespaces {
		if n.cfg.Namespaces[i].Name == name {
			return &n.cfg.Namespaces[i]
		}
	}
	return nil
}

var _ placement.Placer = (*Node)(nil)

// ownerOf is who owns a namespace as the group of hubs has it; zero: not known.
func (n *Node) ownerOf(name string) topology.Node {
	if n.group != nil {
		if ns := n.group.State().Namespaces[name]; ns != nil {
			return ns.Owner
		}
	}
	n.names.mu.Lock()
	defer n.names.mu.Unlock()
	return n.names.id.Placed[name].Owner
}
