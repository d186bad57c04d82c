package httpapi

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/server/internal/control"
	"github.com/unisondb/unisondb/server/topology"
)

const (
	// defaultGrace is how long nodes keep what they have of a deleted namespace.
	defaultGrace = 72 * time.Hour
	maxGrace     = 10 * 365 * 24 * time.Hour
	// madePatience is how long a request waits for the owner of a new namespace to make it,
	// and madePoll how often it looks.
	madePatience = 10 * time.Second
	madePoll     = 20 * time.Millisecond
)

// States of namespaces that are told apart here.
const (
	stateServing = "serving"
	stateMissing = "missing"
)

// namespaceInfo is a namespace as the group of hubs sees it.
type namespaceInfo struct {
	Name  string   `json:"name"`
	Owner string   `json:"owner"`
	Epoch uint64   `json:"epoch"`
	Hubs  []string `json:"hubs"`
	Acks  string   `json:"acks"`
	LSN   uint64   `json:"lsn"`

	Lineage     string         `json:"lineage,omitempty"`
	Term        uint64         `json:"term,omitempty"`
	Via         string         `json:"via,omitempty"`
	State       string         `json:"state,omitempty"` // on its owner; empty: it hasn't told
	Reason      string         `json:"reason,omitempty"`
	Quota       *quotaInfo     `json:"quota,omitempty"`
	Replicate   *replicateInfo `json:"replicate,omitempty"`
	Deleted     *time.Time     `json:"deleted,omitempty"`
	RemoveAfter *time.Time     `json:"remove_after,omitempty"`
}

type quotaInfo struct {
	MaxBytes            int64 `json:"max_bytes,omitempty"`
	WriteBytesPerSecond int64 `json:"write_bytes_per_second,omitempty"`
}

type replicateInfo struct {
	Relayers []string          `json:"relayers,omitempty"`
	Selector map[string]string `json:"selector,omitempty"`
	Hubs     []string          `json:"hubs,omitempty"`
}

// outLocal is a namespace of which only this node knows.
func outLocal(s NamespaceStatus) namespaceInfo {
	return namespaceInfo{
		Name: s.Name, Owner: s.Owner, Epoch: s.Epoch, Hubs: []string{s.Owner}, Acks: "local", LSN: s.LSN,
		Lineage: s.Lineage, State: s.State, Reason: s.Reason,
	}
}

// outShared is a namespace that the hubs agree on, with what its owner says of it. While that is
// silent, the furthest that a hub has of it is shown.
func outShared(o *control.Overview, ns *topology.Namespace) namespaceInfo {
	out := namespaceInfo{
		Name: ns.Name, Owner: ns.Owner.ID, Hubs: append([]string{}, o.State.HubsOf(ns.Name)...), Acks: cmp.Or(ns.Settings.Acks, "local"),
		Lineage: ns.Lineage, Term: ns.Term, Via: ns.Via,
	}
	if r := ns.Settings.Replicate; r != nil {
		out.Replicate = &replicateInfo{r.Relayers, r.Selector, r.Hubs}
	}
	if q := (quotaInfo{ns.Settings.MaxBytes, ns.Settings.WriteBytesPerSecond}); q != (quotaInfo{}) {
		out.Quota = &q
	}
	if r := o.OnNode(ns.Owner, ns.Name); r != nil && r.GetLineage() == ns.Lineage {
		out.Epoch, out.LSN, out.State, out.Reason = r.GetEpoch(), r.GetLsn(), r.GetState(), r.GetReason()
		return out
	}
	for _, hub := range o.Hubs {
		if r := hub.Namespaces[ns.Name]; r.GetLineage() == ns.Lineage && r.GetLsn() > out.LSN {
			out.Epoch, out.LSN = r.GetEpoch(), r.GetLsn()
		}
	}
	return out
}

// listNamespaces lists those of the group, and those that only this node knows of.
func (c *call) listNamespaces() error {
	out := []namespaceInfo{}
	if c.api.group == nil {
		for _, s := range c.api.node.Status().Namespaces {
			out = append(out, outLocal(s))
		}
		return c.json(out)
	}
	return c.withGroup(func(ctx context.Context) error {
		o, err := c.overview(ctx)
		if err != nil {
			return err
		}
		names := slices.Concat(slices.Collect(maps.Keys(o.State.Namespaces)), c.onlyHere(o.State))
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			if ns := o.State.Namespaces[name]; ns != nil {
				out = append(out, outShared(o, ns))
			} else {
				out = append(out, outLocal(c.api.node.NamespaceStatus(name)))
			}
		}
		return c.json(out)
	})
}

func (c *call) namespaceInfo() error {
	if c.api.group == nil {
		return c.localNamespace()
	}
	return c.withGroup(func(ctx context.Context) error {
		o, err := c.overview(ctx)
		if err != nil {
			return err
		}
		if ns := o.State.Namespaces[c.namespace]; ns != nil {
			return c.json(outShared(o, ns))
		}
		if !slices.Contains(c.onlyHere(o.State), c.namespace) {
			return namespaceNotFound(c.namespace)
		}
		return c.localNamespace()
	})
}

// onlyHere are the namespaces of this node that the group has never heard of. Those that it has
// deleted, or made since the state was taken, are here as well and don't count: what an answer says of
// them is that state's.
func (c *call) onlyHere(state *topology.State) []string {
	names := c.api.node.Names() // first: what is here by the group's word is in its state by then
	known := map[string]bool{}
	for _, s := range []*topology.State{state, c.api.group.State()} {
		for name := range s.Namespaces {
			known[name] = true
		}
		for _, ns := range s.Deleted {
			known[ns.Name] = true
		}
	}
	return slices.DeleteFunc(names, func(name string) bool { return known[name] })
}

// localNamespace answers a namespace that only this node knows of.
func (c *call) localNamespace() error {
	if !slices.Contains(c.api.node.Names(), c.namespace) {
		return namespaceNotFound(c.namespace)
	}
	return c.json(outLocal(c.api.node.NamespaceStatus(c.namespace)))
}

// settingsIn are settings in a request. What is missing stays as it is; what is there and empty
// is emptied.
type settingsIn struct {
	Acks      *string   `json:"acks"`
	Hubs      *[]string `json:"hubs"`
	Replicate *struct {
		Relayers *[]string          `json:"relayers"`
		Selector *map[string]string `json:"selector"`
		Hubs     *[]string          `json:"hubs"`
	} `json:"replicate"`
	Quota *struct {
		MaxBytes            *int64 `json:"max_bytes"`
		WriteBytesPerSecond *int64 `json:"write_bytes_per_second"`
	} `json:"quota"`
}

func (in *settingsIn) given() bool { return *in != settingsIn{} }

// over are the settings that those before become.
func (in *settingsIn) over(before topology.Settings) topology.Settings {
	s := before
	set(&s.Acks, in.Acks)
	if q := in.Quota; q != nil {
		set(&s.MaxBytes, q.MaxBytes)
		set(&s.WriteBytesPerSecond, q.WriteBytesPerSecond)
	}
	var r topology.Replicate
	if before.Replicate != nil {
		r = *before.Replicate
	}
	if in.Replicate != nil {
		set(&r.Relayers, in.Replicate.Relayers)
		set(&r.Selector, in.Replicate.Selector)
		set(&r.Hubs, in.Replicate.Hubs)
	}
	set(&r.Hubs, in.Hubs)
	s.Replicate = &r
	if len(r.Relayers)+len(r.Selector)+len(r.Hubs) == 0 {
		s.Replicate = nil // nobody in particular, which isn't the same as nobody
	}
	return s
}

func set[V any](to, from *V) {
	if from != nil {
		*to = *from
	}
}

// createNamespace makes a namespace on the hub that is to own it, or makes one of this node's
// anew whose data is lost.
func (c *call) createNamespace() error {
	if err := c.requireLoopback(); err != nil {
		return err
	}
	var in struct {
		Name    string `json:"name"`
		Replace bool   `json:"replace"`
		Owner   string `json:"owner"`
		settingsIn
	}
	if err := c.readJSON(maxSmallBody, &in); err != nil {
		return err
	}
	if !dbkernel.ValidName(in.Name) {
		return badRequest(CodeBadRequest, "name=%q can't name a namespace: use 1 to %d letters, digits, dots, dashes and underscores, a letter or digit first", in.Name, dbkernel.MaxNameLen)
	}
	c.namespace = in.Name
	switch shared := in.Owner != "" || in.given(); {
	case in.Replace && shared:
		return badRequest(CodeBadRequest, "replace keeps owner and settings: leave them out, and change settings by PUT /v1/namespaces/%s", in.Name)
	case in.Replace, c.api.group == nil && !shared:
		return c.createHere(in.Replace)
	}
	var lost *StateError
	if _, err := c.api.node.Namespace(in.Name); errors.As(err, &lost) && lost.State == stateMissing {
		return lost // it says more than that there is one of this name
	}
	return c.withGroup(func(ctx context.Context) error {
		return c.createShared(ctx, topology.CreateNamespace{
			Name: in.Name, Lineage: newLineage(), Owner: topology.Node{Kind: topology.KindHub, ID: cmp.Or(in.Owner, c.api.nodeID)},
			Settings: in.over(topology.Settings{}), Created: c.api.clock().UTC(),
		})
	})
}

// createHere makes a namespace of this node's, or makes one anew.
func (c *call) createHere(replace bool) error {
	if err := c.api.node.CreateNamespace(c.Context(), c.namespace, replace); err != nil {
		if errors.Is(err, dbkernel.ErrNamespaceExists) {
			return fmt.Errorf("%w: choose another name", err)
		}
		return err
	}
	return c.localNamespace() // the group is told behind it
}

// newLineage is a random one, which is 32 hexadecimal digits.
func newLineage() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails, says crypto/rand
	return fmt.Sprintf("%x", b)
}

// createShared has the group make a namespace, and answers when its owner has it durably.
func (c *call) createShared(ctx context.Context, create topology.CreateNamespace) error {
	if err := c.propose(ctx, create); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.api.made)
	defer cancel()
	tick := time.NewTicker(madePoll)
	defer tick.Stop()
	for {
		o, err := c.afterChange(ctx)
		if err == nil {
			if r := o.OnNode(create.Owner, create.Name); r.GetLineage() == create.Lineage && r.GetState() == stateServing {
				return c.json(outShared(o, made(o, create)))
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return &Error{Status: http.StatusGatewayTimeout, Code: CodeNotMade,
				Message: fmt.Sprintf("namespace %q is recorded, but its owner %q hasn't said yet that it has it: it makes it as soon as it can, so nothing has to be done again; 'unisondb operator namespace info %s' shows when it is there", create.Name, create.Owner.ID, create.Name)}
		}
	}
}

// made is the namespace that was created; as it was then, where somebody has deleted it meanwhile.
func made(o *control.Overview, create topology.CreateNamespace) *topology.Namespace {
	if ns := o.State.Namespaces[create.Name]; ns != nil {
		return ns
	}
	return &topology.Namespace{Name: create.Name, Lineage: create.Lineage, Owner: create.Owner, Settings: create.Settings, Created: create.Created}
}

// setNamespace changes settings of a namespace.
func (c *call) setNamespace() error {
	return c.changeGroup(func(ctx context.Context) error {
		var in settingsIn
		if err := c.readJSON(maxSmallBody, &in); err != nil {
			return err
		}
		if !in.given() {
			return badRequest(CodeEmptyRequest, "nothing to set: name at least one of acks, hubs, replicate and quota")
		}
		ns, err := c.setOver(ctx, in)
		if err != nil {
			return err
		}
		o, err := c.afterChange(ctx)
		if err != nil {
			return err
		}
		if newer := o.State.Namespaces[c.namespace]; newer != nil {
			ns = newer
		}
		return c.json(outShared(o, ns)) // also where it was deleted meanwhile: it was set before
	})
}

// setOver lays settings over those that are there, and answers the namespace with them. Who sets another
// one at the same moment undoes nothing, and is undone in nothing.
func (c *call) setOver(ctx context.Context, in settingsIn) (*topology.Namespace, error) {
	for {
		s, err := c.api.group.Sync(ctx)
		if err != nil {
			return nil, err
		}
		ns := s.Namespaces[c.namespace]
		if ns == nil {
			return nil, namespaceNotFound(c.namespace)
		}
		changed := *ns
		changed.Settings = in.over(ns.Settings)
		err = c.propose(ctx, topology.SetNamespace{Name: c.namespace, Settings: changed.Settings, Was: &ns.Settings})
		if topology.CodeOf(err) != topology.CodeSettingsChanged || ctx.Err() != nil {
			return &changed, err
		}
	}
}

// deleteNamespace deletes a namespace on all nodes.
func (c *call) deleteNamespace() error {
	return c.changeGroup(func(ctx context.Context) error {
		grace, err := c.duration("grace", defaultGrace)
		if err != nil {
			return err
		}
		if grace < 0 || grace > maxGrace {
			return badRequest(CodeBadRequest, "grace=%v is out of range: use 0s to %v", grace, maxGrace)
		}
		o, err := c.api.viewer.Overview(ctx, control.Query{Namespace: c.namespace})
		if err != nil {
			return err
		}
		ns := o.State.Namespaces[c.namespace]
		if ns == nil {
			return namespaceNotFound(c.namespace)
		}
		at := c.api.clock().UTC()
		if err := c.propose(ctx, topology.DeleteNamespace{Name: c.namespace, At: at, Grace: grace}); err != nil {
			return err
		}
		out, after := outShared(o, ns), at.Add(grace)
		out.Deleted, out.RemoveAfter = &at, &after
		return c.json(out)
	})
}
