package topology

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"time"
)

func (c CreateNamespace) apply(d *draft) error {
	old := d.Namespaces[c.Name]
	if old != nil && !c.Replace {
		return refuse(CodeNamespaceExists, "there is a namespace %q, owned by %s %q: choose another name", c.Name, old.Owner.Kind, old.Owner.ID)
	}
	var had *Settings
	if old != nil {
		had = &old.Settings
	}
	if err := d.checkKnown(c.Settings.Replicate, had); err != nil {
		return err
	}
	ns, err := d.newNamespace(c.Name, c.Lineage, c.Owner, c.Settings, c.Created)
	if err != nil {
		return err
	}
	if old != nil {
		if err := d.bury(old, c.Created, c.Grace); err != nil {
			return err
		}
		d.deleted()[old.Lineage].Replaced = true
	}
	d.setNamespace(c.Name, ns)
	return nil
}

func (c EnsureNamespace) apply(d *draft) error {
	if err := checkNamespace(c.Name); err != nil {
		return err
	}
	if d.Namespaces[c.Name] != nil {
		return nil
	}
	ns, err := d.newNamespace(c.Name, c.Lineage, c.Owner, c.Settings, c.Created)
	if err != nil {
		return err
	}
	d.setNamespace(c.Name, ns)
	return nil
}

// newNamespace is a namespace that nobody had before.
func (d *draft) newNamespace(name, lineage string, owner Node, settings Settings, created time.Time) (*Namespace, error) {
	if err := checkNamespace(name); err != nil {
		return nil, err
	}
	if err := checkHex128("lineage", lineage); err != nil {
		return nil, err
	}
	if err := d.checkLineageFree(name, lineage); err != nil {
		return nil, err
	}
	if err := d.checkOwner(owner); err != nil {
		return nil, err
	}
	settings, err := checkSettings(settings)
	if err != nil {
		return nil, err
	}
	ns := &Namespace{Name: name, Lineage: lineage, Owner: owner, Term: 1, Settings: settings, Created: created.UTC()}
	if owner.Kind == KindHub {
		ns.Instance = d.Hubs[owner.ID].Instance
	}
	return ns, nil
}

func (d *draft) checkLineageFree(name, lineage string) error {
	if old := d.Deleted[lineage]; old != nil {
		return refuse(CodeLineageTaken, "the data of namespace %q has lineage %s, which was deleted at %s: make a new one by 'unisondb operator namespace create %s'", name, lineage, old.Deleted.Format(time.RFC3339), name)
	}
	for _, ns := range d.Namespaces {
		if ns.Lineage == lineage {
			return refuse(CodeLineageTaken, "lineage %s is that of namespace %q: a namespace needs one of its own", lineage, ns.Name)
		}
	}
	return nil
}

func (d *draft) checkOwner(owner Node) error {
	switch {
	case owner.Kind == KindHub && d.Hubs[owner.ID] == nil:
		return unknownHub(d, owner.ID)
	case owner.Kind == KindRelayer && d.Relayers[owner.ID] == nil:
		return unknownRelayer(d, owner.ID)
	case owner.Kind != KindHub && owner.Kind != KindRelayer:
		return refuse(CodeBadRequest, "the owner is %s, and has to be a hub or a relayer", quoted(string(owner.Kind)))
	}
	return nil
}

func (c SetNamespace) apply(d *draft) error {
	ns := d.Namespaces[c.Name]
	if ns == nil {
		return unknownNamespace(d, c.Name)
	}
	if c.Was != nil && !c.Was.equal(&ns.Settings) {
		return refuse(CodeSettingsChanged, "the settings of namespace %q have changed since they were read: read them, and set them again", c.Name)
	}
	settings, err := checkSettings(c.Settings)
	if err != nil {
		return err
	}
	if err := d.checkKnown(settings.Replicate, &ns.Settings); err != nil {
		return err
	}
	changed := *ns
	changed.Settings = settings
	d.setNamespace(c.Name, &changed)
	return nil
}

// equal compares what is written of settings: an empty list is none.
func (s *Settings) equal(other *Settings) bool {
	a, errA := json.Marshal(s)
	b, errB := json.Marshal(other)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}

func (c DeleteNamespace) apply(d *draft) error {
	ns := d.Namespaces[c.Name]
	if ns == nil {
		return unknownNamespace(d, c.Name)
	}
	if err := d.bury(ns, c.At, c.Grace); err != nil {
		return err
	}
	d.setNamespace(c.Name, nil)
	d.forgetAssignments(func(a *Assignment) bool { return a.Namespace == c.Name })
	return nil
}

// bury lists a namespace as deleted.
func (d *draft) bury(ns *Namespace, at time.Time, grace time.Duration) error {
	if at.IsZero() || grace < 0 {
		return refuse(CodeBadRequest, "deleting namespace %q needs a time and a grace period that isn't negative", ns.Name)
	}
	gone := *ns
	gone.Deleted, gone.Grace = at.UTC(), grace
	d.deleted()[ns.Lineage] = &gone
	return nil
}

func (c PurgeNamespace) apply(d *draft) error {
	if d.Deleted[c.Lineage] == nil {
		return refuse(CodeNamespaceNotFound, "there is no deleted namespace of lineage %s", quoted(c.Lineage))
	}
	delete(d.deleted(), c.Lineage)
	return nil
}

func (c SetVia) apply(d *draft) error {
	ns := d.Namespaces[c.Name]
	switch {
	case ns == nil:
		return unknownNamespace(d, c.Name)
	case ns.Owner.Kind != KindRelayer:
		return refuse(CodeBadRequest, "namespace %q is owned by a hub, and comes by way of no other", c.Name)
	case c.Via != "" && d.Hubs[c.Via] == nil:
		return unknownHub(d, c.Via)
	case ns.Via == c.Via:
		return nil
	}
	changed := *ns
	changed.Via = c.Via
	d.setNamespace(c.Name, &changed)
	return nil
}

// checkSettings answers the settings with what was left out.
func checkSettings(s Settings) (Settings, error) {
	if s.Acks == "" {
		s.Acks = "local"
	}
	if err := checkAcks(s.Acks); err != nil {
		return s, err
	}
	if s.MaxBytes < 0 || s.WriteBytesPerSecond < 0 {
		return s, refuse(CodeBadRequest, "a quota of less than 0 bytes: 0 is no quota")
	}
	if s.Replicate == nil {
		return s, nil
	}
	if err := checkPatterns("patterns of relayers", s.Replicate.Relayers); err != nil {
		return s, err
	}
	if err := checkPatterns("patterns of hubs", s.Replicate.Hubs); err != nil {
		return s, err
	}
	return s, checkLabels(s.Replicate.Selector)
}

func checkAcks(acks string) error {
	n, err := strconv.Atoi(acks)
	switch {
	case acks == "local":
		return nil
	case acks == "quorum", err == nil && n >= 1:
		return refuse(CodeNotBuilt, "acks = %q isn't built yet: use \"local\"", acks)
	}
	return refuse(CodeBadRequest, "acks is %s, and has to be \"local\"", quoted(acks))
}

// checkKnown refuses names that nobody has, unless they stand in the settings already. Patterns
// may stand for nodes that are to come.
func (d *draft) checkKnown(r *Replicate, had *Settings) error {
	if r == nil {
		return nil
	}
	var old Replicate
	if had != nil && had.Replicate != nil {
		old = *had.Replicate
	}
	for _, id := range r.Hubs {
		if !isPattern(id) && d.Hubs[id] == nil && !slices.Contains(old.Hubs, id) {
			return unknownHub(d, id)
		}
	}
	for _, id := range r.Relayers {
		if !isPattern(id) && d.Relayers[id] == nil && !slices.Contains(old.Relayers, id) {
			return unknownRelayer(d, id)
		}
	}
	return d.checkSelector(r.Selector, old.Selector)
}

func unknownNamespace(d *draft, name string) error {
	return refuse(CodeNamespaceNotFound, "there is no namespace %s; the namespaces are %s", quoted(name), names(d.Namespaces))
}
