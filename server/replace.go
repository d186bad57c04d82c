package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/server/httpapi"
)

// CreateNamespace makes a namespace that this node owns, or replaces one whose
// data is lost. It implements httpapi.Node. The group of hubs is told behind it, as
// soon as that is possible.
func (n *Node) CreateNamespace(ctx context.Context, name string, replace bool) error {
	if n.role != RoleHub {
		return fmt.Errorf("%w: a relayer makes no namespaces: create it on the hub and name it in an upstream block here", dbkernel.ErrReadOnly)
	}
	if err := n.names.createOrReplace(ctx, name, replace); err != nil {
		return err
	}
	n.placing.Again(name)
	n.poke()
	return nil
}

func (s *namespaces) createOrReplace(ctx context.Context, name string, replace bool) error {
	s.making.Lock()
	defer s.making.Unlock()
	if replace {
		return s.replace(ctx, name)
	}
	if refused := s.refusal(name); refused != nil {
		return refused
	}
	lineage, err := newLineage()
	if err != nil {
		return err
	}
	if err := s.create(name, lineage); err != nil {
		return err
	}
	return s.list(map[string]dbkernel.Lineage{name: lineage})
}

// replace makes a namespace anew, as another lineage, where its data is lost or
// unusable. What is left of it goes aside first, then node.json names the new lineage, then
// its files are made: a crash in between leaves a namespace whose lineage node.json
// names and which isn't there. That is missing, and replacing it once more goes on.
// The caller holds making.
func (s *namespaces) replace(ctx context.Context, name string) error {
	why, err := s.lost(name)
	if err != nil {
		return err
	}
	lineage, err := newLineage()
	if err != nil {
		return err
	}
	before := s.refusal(name)
	s.refuse(name, missing(name)) // nobody finds what is half done
	err = s.node.db.SetAside(ctx, name, "replaced by an operator: "+why)
	if err != nil && !errors.Is(err, dbkernel.ErrNamespaceNotFound) {
		if _, gone := s.node.db.Namespace(name); !errors.Is(gone, dbkernel.ErrNamespaceNotFound) {
			s.refuse(name, before)
		}
		return fmt.Errorf("setting aside what is left of namespace %q: %w", name, err)
	}
	if err := s.list(map[string]dbkernel.Lineage{name: lineage}); err != nil {
		return err
	}
	if err := s.create(name, lineage); err != nil {
		return err
	}
	s.refuse(name, nil)
	s.node.log.Warn("namespace was replaced", "namespace", name, "lineage", lineage, "reason", why)
	return nil
}

// refuse sets why a namespace isn't served; nil: it is.
func (s *namespaces) refuse(name string, why *httpapi.StateError) {
	s.recheck(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.refused, name)
	if why != nil {
		s.refused[name] = why
	}
}

// stillThere are the codes of namespaces that can't be opened although their data
// is there: to make them anew would only take it away.
var stillThere = []string{"NEWER_FORMAT", "NAMESPACE_UNAVAILABLE", "SHUTTING_DOWN"}

// lost says why a namespace may be replaced, or refuses it.
func (s *namespaces) lost(name string) (why string, err error) {
	ns, err := s.look(name)
	var state *httpapi.StateError
	switch {
	case errors.As(err, &state) && !slices.Contains(stillThere, state.Code):
		return state.Reason, nil
	case errors.As(err, &state):
		return "", notReplaceable("namespace %q can't be opened, and its data is there (%s): %s", name, state.Code, state.Reason)
	case errors.Is(err, dbkernel.ErrNamespaceNotFound):
		return "", notReplaceable("there is no namespace %q to replace: make it without -replace", name)
	case err != nil:
		return "", err
	}
	if status := ns.Status(); status.State == dbkernel.StateQuarantined {
		return status.Reason, nil
	}
	return "", notReplaceable("namespace %q is there and can be read: only one that is missing or quarantined is replaced", name)
}

func notReplaceable(format string, args ...any) error {
	return &httpapi.Error{Status: http.StatusConflict, Code: httpapi.CodeNotReplaceable, Message: fmt.Sprintf(format, args...)}
}
