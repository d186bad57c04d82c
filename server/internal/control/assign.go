package control

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
	"github.com/unisondb/unisondb/server/topology"
)

// digest is a hash of an assignment, by which a session knows whether there is something
// new to say. The assignment itself isn't kept: a thousand of them are a lot of memory.
type digest [sha256.Size]byte

// assignmentOf is what a relayer that attends a hub is to have. runs are the namespaces that it has
// besides, of its own or by its configuration, for plugins.
func assignmentOf(s *topology.State, relayer, attended string, runs []string) (*dbv1.Assignment, digest, error) {
	a := &dbv1.Assignment{}
	if r := s.Relayers[relayer]; r != nil {
		a.Draining = r.Draining
	}
	deleted := deletedByName(s)
	for _, name := range s.AssignedTo(relayer) {
		ns := s.Namespaces[name]
		a.Namespaces = append(a.Namespaces, &dbv1.AssignedNamespace{
			Name: name, Lineage: ns.Lineage, Owner: ns.Owner.ID, Sources: sourcesOf(s, relayer, name, attended),
			Deleted: deleted[name],
		})
		runs = append(runs, name)
	}
	for _, id := range slices.Sorted(maps.Keys(s.Hubs)) {
		if address := s.Hubs[id].GRPC; address != "" {
			a.Hubs = append(a.Hubs, address)
		}
	}
	var err error
	if a.Plugins, err = pluginsFor(s, runs); err != nil {
		return nil, digest{}, err
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(a)
	a.Index = s.Index
	return a, sha256.Sum256(b), err
}

// deletedByName are the deleted histories, by name, the first by its lineage: what a relayer has of
// them goes aside. One whose owner has lost it isn't among them.
func deletedByName(s *topology.State) map[string][]*dbv1.DeletedLineage {
	deleted := map[string][]*dbv1.DeletedLineage{}
	for _, lineage := range slices.Sorted(maps.Keys(s.Deleted)) {
		if ns := s.Deleted[lineage]; !ns.Replaced {
			deleted[ns.Name] = append(deleted[ns.Name], &dbv1.DeletedLineage{Lineage: lineage, UntilUnixMs: ns.Deleted.Add(ns.Grace).UnixMilli()})
		}
	}
	return deleted
}

func sourcesOf(s *topology.State, relayer, namespace, attended string) []*dbv1.StreamSource {
	sources := s.SourcesFor(relayer, namespace, attended)
	out := make([]*dbv1.StreamSource, len(sources))
	for i, source := range sources {
		out[i] = &dbv1.StreamSource{NodeId: source.Node, Address: source.Address}
	}
	return out
}

// pluginsFor are the catalog's plugins for a node that has namespaces, in the order of their
// names.
func pluginsFor(s *topology.State, namespaces []string) ([][]byte, error) {
	var plugins [][]byte
	for _, name := range slices.Sorted(maps.Keys(s.Plugins)) {
		p := s.Plugins[name]
		if !slices.ContainsFunc(p.Namespaces, func(ns string) bool { return slices.Contains(namespaces, ns) }) {
			continue
		}
		b, err := json.Marshal(p)
		if err != nil {
			return nil, fmt.Errorf("plugin %q of the catalog: %w", name, err)
		}
		plugins = append(plugins, b)
	}
	return plugins, nil
}
