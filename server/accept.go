package server

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/server/httpapi"
	"github.com/unisondb/unisondb/server/internal/placement"
)

// AcceptLineage lets a namespace that this node follows become one of another
// lineage. It implements httpapi.Node.
func (n *Node) AcceptLineage(name string, lineage dbkernel.Lineage) error {
	if n.names.isDisputed(name) {
		return n.yield(name, lineage)
	}
	if at, _ := n.places.get(name); at.role != placement.Follow && at.role != placement.Receive {
		return n.acceptsNot(name)
	}
	s := &n.names
	s.making.Lock()
	defer s.making.Unlock()
	here := lineageOf(n.db.Namespace(name))
	if s.accepted(name) == lineage || here == lineage && s.accepted(name).IsZero() {
		return nil
	}
	err := s.note(func(id *identity) {
		delete(id.Accepted, name)
		if here != lineage {
			id.Accepted[name] = lineage
		}
	})
	if err != nil {
		return err
	}
	n.log.Warn("another lineage was accepted", "namespace", name, "lineage", lineage, "has", here)
	for _, up := range n.links.upstreams() {
		up.Hurry(name)
	}
	return nil
}

// yield sets aside what this node made of a namespace that the group knows as another one, and takes
// part in that.
func (n *Node) yield(name string, lineage dbkernel.Lineage) error {
	if w, ok := n.placing.Wanted(name); !ok || w.Lineage != lineage.String() {
		return &httpapi.Error{Status: http.StatusConflict, Code: httpapi.CodeNamespaceOwned, Message: fmt.Sprintf(
			"in the group of hubs namespace %q has lineage %s: accept that one", name, w.Lineage)}
	}
	n.log.Warn("another lineage was accepted: what this node made is set aside", "namespace", name, "lineage", lineage, "has", n.names.made(name))
	if err := n.leave(context.Background(), name, "another lineage was accepted", time.Time{}); err != nil {
		return err
	}
	n.placing.Again(name)
	return nil
}

// acceptsNot says why a namespace of this node takes no lineage from elsewhere.
func (n *Node) acceptsNot(name string) error {
	if slices.Contains(n.Names(), name) {
		return &httpapi.Error{Status: http.StatusConflict, Code: httpapi.CodeNamespaceOwned, Message: fmt.Sprintf(
			"this node owns namespace %q and takes its lineage from nobody: accept it on the nodes that follow; to make it anew here, use 'unisondb operator namespace create -replace %s'", name, name)}
	}
	return &httpapi.Error{Status: http.StatusNotFound, Code: httpapi.CodeNamespaceNotFound, Message: fmt.Sprintf(
		"this node follows no namespace %q: name it in an upstream block, then accept its lineage", name)}
}

// lineageOf is the lineage of a namespace, if it is there and can be opened.
func lineageOf(ns *dbkernel.Namespace, err error) dbkernel.Lineage {
	if err != nil {
		return dbkernel.Lineage{}
	}
	return ns.Status().Lineage
}

// accepted is the lineage that an operator lets the namespace become; zero: none.
func (s *namespaces) accepted(name string) dbkernel.Lineage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id.Accepted[name]
}

// arrived notes that a namespace has this lineage. Where it was accepted that
// is done with. A node.json that can't be written keeps it: it says nothing wrong.
func (s *namespaces) arrived(name string, lineage dbkernel.Lineage) {
	if lineage.IsZero() || s.accepted(name) != lineage {
		return
	}
	s.making.Lock()
	defer s.making.Unlock()
	if s.accepted(name) != lineage {
		return
	}
	if err := s.note(func(id *identity) { delete(id.Accepted, name) }); err != nil {
		s.node.log.Error("an accepted lineage couldn't be ticked off; it is tried again", "namespace", name, "error", err)
		return
	}
	s.node.log.Info("accepted lineage is here", "namespace", name, "lineage", lineage)
}
