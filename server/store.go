package server

import (
	"context"
	"errors"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/replicator"
)

// store is the node's namespaces as replication sees them: those that are
// refused are never streamed, and a lineage that an operator has accepted may come.
type store struct {
	replicator.Store
	node *Node
}

func (n *Node) store() replicator.Store { return store{replicator.KernelStore(n.db), n} }

// Open implements replicator.Store.
func (s store) Open(name string) (replicator.Log, error) {
	if _, err := s.node.names.open(name); err != nil && !s.node.names.hasFailed(name) {
		return nil, err
	}
	log, err := s.Store.Open(name) // of one that can't be opened, the kernel says why
	if err == nil {
		s.node.names.arrived(name, log.Status().Lineage)
	}
	return log, err
}

// Accepted implements replicator.Store. Where nothing is here yet, the control plane names the
// lineage: what has begun to arrive of another one was deleted meanwhile.
func (s store) Accepted(name string) dbkernel.Lineage {
	if l := s.node.names.accepted(name); !l.IsZero() {
		return l
	}
	w, ok := s.node.placing.Wanted(name)
	if !ok || w.Lineage == "" || s.node.names.isDisputed(name) {
		return dbkernel.Lineage{}
	}
	if _, err := s.node.db.Namespace(name); !errors.Is(err, dbkernel.ErrNamespaceNotFound) {
		return dbkernel.Lineage{}
	}
	l, err := dbkernel.ParseLineage(w.Lineage)
	if err != nil {
		return dbkernel.Lineage{} // the group checks them
	}
	return l
}

// Stage implements replicator.Store.
func (s store) Stage(name string, lineage dbkernel.Lineage) (replicator.Stage, error) {
	return s.watched(name)(s.Store.Stage(name, lineage))
}

// Staged implements replicator.Store.
func (s store) Staged(name string) (replicator.Stage, error) {
	return s.watched(name)(s.Store.Staged(name))
}

// Truncate implements replicator.Store.
func (s store) Truncate(ctx context.Context, name string, after uint64, reason string) error {
	defer s.node.names.recheck(name)
	return s.Store.Truncate(ctx, name, after, reason)
}

func (s store) watched(name string) func(replicator.Stage, error) (replicator.Stage, error) {
	return func(stage replicator.Stage, err error) (replicator.Stage, error) {
		if err != nil {
			return nil, err
		}
		return watchedStage{stage, name, s.node}, nil
	}
}

// watchedStage tells the node when it has become the namespace.
type watchedStage struct {
	replicator.Stage
	name string
	node *Node
}

// Install implements replicator.Stage.
func (s watchedStage) Install(ctx context.Context, reason string) (replicator.Log, error) {
	lineage := s.Lineage()
	log, err := s.Stage.Install(ctx, reason)
	s.node.names.recheck(s.name)
	if err == nil {
		s.node.names.arrived(s.name, lineage)
	}
	return log, err
}
