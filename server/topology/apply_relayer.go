package topology

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
)

func (c SetRelayer) apply(d *draft) error {
	r := c.Relayer
	if err := checkRelayer(r); err != nil {
		return err
	}
	if d.Hubs[r.ID] != nil {
		return refuse(CodeNodeIDTaken, "the node id %q is a hub's: give the relayer another node_id", r.ID)
	}
	old := d.Relayers[r.ID]
	if old != nil && old.Instance != r.Instance {
		return refuse(CodeNodeIDTaken, "the node id %q is taken by a relayer with another data directory (instance %s): give this relayer another node_id, or if the old one is gone for good: 'unisondb operator relayer remove %s'", r.ID, old.Instance, r.ID)
	}
	r.Upstream, r.Draining, r.Kept, r.Token, r.Granted = "", false, nil, "", nil
	if old != nil {
		r.Upstream, r.Draining, r.Kept, r.Token, r.Granted = old.Upstream, old.Draining, old.Kept, old.Token, old.Granted
		if r.Credential == "" {
			r.Credential = old.Credential
		}
	}
	if c.Token != "" {
		if err := d.useToken(&r, c.Token, c.At); err != nil {
			return err
		}
	}
	r.Labels = with(r.Labels, r.Granted)
	if old == nil || !reflect.DeepEqual(*old, r) {
		d.relayers()[r.ID] = &r
	}
	return nil
}

func checkRelayer(r Relayer) error {
	if err := checkNode(r.ID); err != nil {
		return err
	}
	if err := checkTexts(r.Instance, r.Region, r.Advertise); err != nil {
		return err
	}
	if r.Instance == "" {
		return refuse(CodeBadRequest, "relayer %q doesn't say which instance it is", r.ID)
	}
	if r.Credential != "" && !hex256.MatchString(r.Credential) {
		return refuse(CodeBadRequest, "the credential of relayer %q is no SHA-256", r.ID)
	}
	return checkLabels(r.Labels)
}

// useToken lets a relayer in by a join token.
func (d *draft) useToken(r *Relayer, id string, at time.Time) error {
	t := d.Tokens[id]
	switch {
	case t == nil:
		return refuse(CodeTokenNotFound, "there is no join token %s, or it was revoked: make one by 'unisondb operator relayer token'", quoted(id))
	case at.IsZero():
		return refuse(CodeBadRequest, "joining with a token needs the time")
	case !at.Before(t.Expires):
		return refuse(CodeTokenExpired, "the join token %q expired at %s: make a new one by 'unisondb operator relayer token'", id, t.Expires.Format(time.RFC3339))
	case t.Relayer != "" && !matches(t.Relayer, r.ID):
		return refuse(CodeTokenRefused, "the join token %q is for relayers %q, and this one is %q", id, t.Relayer, r.ID)
	case r.Token == id: // its answer didn't arrive
		return nil
	case t.Uses <= 0:
		return refuse(CodeTokenUsedUp, "the join token %q is used up: make a new one by 'unisondb operator relayer token'", id)
	}
	used := *t
	used.Uses--
	d.tokens()[id] = &used
	r.Token, r.Granted = id, t.Labels
	return nil
}

// with is labels overlaid with others.
func with(labels, over map[string]string) map[string]string {
	if len(over) == 0 {
		return labels
	}
	all := maps.Clone(over)
	for name, value := range labels {
		if _, ok := over[name]; !ok {
			all[name] = value
		}
	}
	return all
}

func (c RemoveRelayer) apply(d *draft) error {
	if d.Relayers[c.ID] == nil {
		return unknownRelayer(d, c.ID)
	}
	if owned := d.ownedBy(c.ID); len(owned) > 0 && !c.Force {
		return refuse(CodeRelayerOwns, "relayer %q owns %s, which nobody could write to without it: delete these first, or say -force", c.ID, list(owned))
	}
	d.forgetUpstream(c.ID)
	d.forgetAssignments(func(a *Assignment) bool { return a.Relayer == c.ID })
	delete(d.relayers(), c.ID)
	return nil
}

// ownedBy are the namespaces that a relayer owns, sorted.
func (d *draft) ownedBy(relayer string) []string {
	var owned []string
	for name, ns := range d.Namespaces {
		if ns.Owner == (Node{Kind: KindRelayer, ID: relayer}) {
			owned = append(owned, name)
		}
	}
	slices.Sort(owned)
	return owned
}

func (c DrainRelayer) apply(d *draft) error {
	r := d.Relayers[c.ID]
	if r == nil {
		return unknownRelayer(d, c.ID)
	}
	if r.Draining == c.Draining {
		return nil
	}
	changed := *r
	changed.Draining, changed.Kept = c.Draining, nil
	if c.Draining {
		changed.Kept = d.AssignedTo(c.ID)
	}
	d.relayers()[changed.ID] = &changed
	return nil
}

func (c SetUpstream) apply(d *draft) error {
	r := d.Relayers[c.Relayer]
	if r == nil {
		return unknownRelayer(d, c.Relayer)
	}
	if err := d.checkUpstream(c.Relayer, c.Upstream); err != nil {
		return err
	}
	if r.Upstream == c.Upstream {
		return nil
	}
	changed := *r
	changed.Upstream = c.Upstream
	d.relayers()[changed.ID] = &changed
	return nil
}

func (d *draft) checkUpstream(relayer, upstream string) error {
	if upstream == "" || d.Hubs[upstream] != nil {
		return nil
	}
	up := d.Relayers[upstream]
	switch {
	case up == nil:
		return refuse(CodeUnknownRelayer, "there is neither a relayer nor a hub %s; the relayers are %s", quoted(upstream), names(d.Relayers))
	case upstream == relayer:
		return refuse(CodeUpstreamCycle, "relayer %q can't be its own upstream", relayer)
	case up.Draining:
		return refuse(CodeRelayerDraining, "relayer %q is draining and takes on nobody: choose another, or end that by 'unisondb operator relayer drain -undo %s'", upstream, upstream)
	case up.Advertise == "":
		return refuse(CodeNotReachable, "relayer %q doesn't say where others reach it: give it a grpc listener with an advertise address", upstream)
	}
	path := []string{relayer, upstream}
	for next := up.Upstream; next != ""; next = d.Relayers[next].Upstream {
		path = append(path, next)
		if next == relayer {
			return refuse(CodeUpstreamCycle, "relayer %q would follow itself: %s", relayer, strings.Join(path, " -> "))
		}
		if d.Relayers[next] == nil {
			break // a hub
		}
	}
	return nil
}

func unknownRelayer(d *draft, id string) error {
	return refuse(CodeUnknownRelayer, "there is no relayer %s; the relayers are %s", quoted(id), names(d.Relayers))
}

// names are the keys of a map for a message.
func names[V any](m map[string]V) string { return list(slices.Sorted(maps.Keys(m))) }

// list is a few of the names for a message.
func list(all []string) string {
	const most = 8
	switch {
	case len(all) == 0:
		return "none so far"
	case len(all) > most:
		return strings.Join(all[:most], ", ") + fmt.Sprintf(" and %d more", len(all)-most)
	}
	return strings.Join(all, ", ")
}
