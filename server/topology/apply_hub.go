package topology

func (c Begin) apply(d *draft) error {
	if d.Cluster != "" {
		return refuse(CodeAlreadyBootstrapped, "the group of hubs has begun before, as cluster %s: a second one can't begin in it", d.Cluster)
	}
	if err := checkHex128("cluster id", c.Cluster); err != nil {
		return err
	}
	d.Cluster = c.Cluster
	return nil
}

func (c SetHub) apply(d *draft) error {
	h := c.Hub
	if err := checkNode(h.ID); err != nil {
		return err
	}
	if err := checkTexts(h.Raft, h.GRPC, h.Version, h.Region, h.Instance); err != nil {
		return err
	}
	if h.Instance == "" {
		return refuse(CodeBadRequest, "hub %q doesn't say which instance it is", h.ID)
	}
	if r := d.Relayers[h.ID]; r != nil {
		return refuse(CodeNodeIDTaken, "the node id %q is a relayer's: give the hub another node_id", h.ID)
	}
	old := d.Hubs[h.ID]
	if old != nil && old.Instance != h.Instance {
		return refuse(CodeNodeIDTaken, "the node id %q is taken by a hub with another data directory (instance %s): give this hub another node_id, or if the old one is gone for good: 'unisondb operator raft remove-peer %s'", h.ID, old.Instance, h.ID)
	}
	for _, other := range d.Hubs {
		if h.Raft != "" && other.ID != h.ID && other.Raft == h.Raft {
			return refuse(CodeAddressTaken, "hub %q has the raft address %s: give %q another one in its raft block, or remove the other hub by 'unisondb operator raft remove-peer %s'", other.ID, h.Raft, h.ID, other.ID)
		}
	}
	if old != nil && old.Voter && !h.Voter && d.voters() == 1 {
		return refuse(CodeLastVoter, "hub %q is the last one with a vote: let another hub join as a voter first", h.ID)
	}
	if old == nil || *old != h {
		d.hubs()[h.ID] = &h
	}
	return nil
}

func (c RemoveHub) apply(d *draft) error {
	h := d.Hubs[c.ID]
	switch {
	case h == nil:
		return unknownHub(d, c.ID)
	case c.Instance != "" && c.Instance != h.Instance:
		return refuse(CodeInstanceMismatch, "hub %q is another instance by now (%s): look at 'unisondb operator raft list-peers'", c.ID, h.Instance)
	case h.Voter && d.voters() == 1:
		return refuse(CodeLastVoter, "hub %q is the last one with a vote, and without it nobody could change anything: let another hub join first", c.ID)
	}
	delete(d.hubs(), c.ID)
	d.forgetVia(c.ID)
	d.forgetUpstream(c.ID)
	return nil
}

// forgetVia lets the next hub that receives an edge's namespace be its first.
func (d *draft) forgetVia(hub string) {
	for name, ns := range d.Namespaces {
		if ns.Via == hub {
			changed := *ns
			changed.Via = ""
			d.setNamespace(name, &changed)
		}
	}
}

// forgetUpstream lets the relayers that followed a node follow hubs again.
func (d *draft) forgetUpstream(node string) {
	for id, r := range d.Relayers {
		if r.Upstream == node {
			changed := *r
			changed.Upstream = ""
			d.relayers()[id] = &changed
		}
	}
}

func (d *draft) voters() int {
	n := 0
	for _, h := range d.Hubs {
		if h.Voter {
			n++
		}
	}
	return n
}

func unknownHub(d *draft, id string) error {
	return refuse(CodeUnknownHub, "there is no hub %s; the hubs are %s", quoted(id), names(d.Hubs))
}
