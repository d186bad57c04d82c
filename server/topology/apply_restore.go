package topology

import (
	"bytes"
	"maps"
)

func (c Restore) apply(d *draft) error {
	from, info, err := readSnapshot(bytes.NewReader(c.Snapshot))
	if err != nil {
		return err
	}
	if info.Cluster != d.Cluster && !c.Force {
		return refuse(CodeOtherCluster, "the snapshot is of cluster %s, and this one is %s: restoring it here needs -force, and gives this group that id, which its relayers know", quoted(info.Cluster), d.Cluster)
	}
	if err := checkHex128("cluster id", info.Cluster); err != nil {
		return err
	}
	for id := range from.Relayers {
		if d.Hubs[id] != nil {
			return refuse(CodeNodeIDTaken, "in the snapshot a relayer is called like a hub of this group: give that hub another node_id")
		}
	}
	for name, ns := range from.Namespaces {
		if now := d.find(ns.Lineage); now != nil && (now.Owner != ns.Owner || now.Term > ns.Term) {
			later := *ns
			later.Term = now.Term
			if now.Owner != ns.Owner {
				later.Term = max(now.Term, ns.Term) + 1
			}
			from.Namespaces[name] = &later
		}
	}
	next := *from
	next.Index, next.Chain, next.MinReader = d.Index, d.Chain, max(d.MinReader, from.MinReader)
	next.Hubs = maps.Clone(d.Hubs)
	d.State = next
	return nil
}

// find is the namespace of a lineage, deleted or not; nil: none.
func (d *draft) find(lineage string) *Namespace {
	if ns := d.Deleted[lineage]; ns != nil {
		return ns
	}
	for _, ns := range d.Namespaces {
		if ns.Lineage == lineage {
			return ns
		}
	}
	return nil
}
