package topology

import (
	"maps"
	"slices"
)

func (c Assign) apply(d *draft) error {
	a := c.Assignment
	if err := checkAssignment(a); err != nil {
		return err
	}
	if d.Namespaces[a.Namespace] == nil {
		return unknownNamespace(d, a.Namespace)
	}
	if a.Relayer != "" && !isPattern(a.Relayer) {
		if err := d.checkAssignee(a.Relayer); err != nil {
			return err
		}
	}
	if err := d.checkSelector(a.Selector, nil); err != nil {
		return err
	}
	if d.Assignments[a.Key()] == nil {
		d.addAssignment(&a)
	}
	return nil
}

func (d *draft) checkAssignee(relayer string) error {
	r := d.Relayers[relayer]
	switch {
	case r == nil && d.Hubs[relayer] != nil:
		return refuse(CodeUnknownRelayer, "%q is a hub: hubs receive what the namespace's replicate setting gives them: 'unisondb operator namespace set'", relayer)
	case r == nil:
		return unknownRelayer(d, relayer)
	case r.Draining:
		return refuse(CodeRelayerDraining, "relayer %q is draining and gets nothing new: end that by 'unisondb operator relayer drain -undo %s'", relayer, relayer)
	}
	return nil
}

// checkAssignment checks its form.
func checkAssignment(a Assignment) error {
	if err := checkNamespace(a.Namespace); err != nil {
		return err
	}
	switch {
	case a.Relayer == "" && len(a.Selector) == 0:
		return refuse(CodeBadRequest, "an assignment needs a relayer or a selector of labels")
	case a.Relayer != "" && len(a.Selector) > 0:
		return refuse(CodeBadRequest, "an assignment has a relayer or a selector of labels, not both: make two")
	case a.Relayer != "":
		return checkPattern(a.Relayer)
	}
	return checkLabels(a.Selector)
}

// checkSelector refuses labels that nobody has and no join token gives, unless they were there before.
func (d *draft) checkSelector(selector, before map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(selector)) {
		value := selector[name]
		if old, ok := before[name]; ok && old == value || d.labelKnown(name, value) {
			continue
		}
		return refuse(CodeUnknownLabel, "no relayer has the label %s=%s, and no join token gives it: let one join first, or look at 'unisondb operator relayer list'", name, value)
	}
	return nil
}

func (d *draft) labelKnown(name, value string) bool {
	for _, r := range d.Relayers {
		if have, ok := r.Labels[name]; ok && have == value {
			return true
		}
	}
	for _, t := range d.Tokens {
		if have, ok := t.Labels[name]; ok && have == value {
			return true
		}
	}
	return false
}

func (c Unassign) apply(d *draft) error {
	a := d.Assignments[c.Assignment.Key()]
	if a == nil {
		if err := checkAssignment(c.Assignment); err != nil {
			return err
		}
		if d.Namespaces[c.Assignment.Namespace] == nil {
			return unknownNamespace(d, c.Assignment.Namespace)
		}
		return refuse(CodeAssignmentNotFound, "there is no such assignment of namespace %q: look at 'unisondb operator topology show'", c.Assignment.Namespace)
	}
	d.removeAssignment(a)
	return nil
}

func (d *draft) forgetAssignments(which func(*Assignment) bool) {
	for _, a := range d.Assignments {
		if which(a) {
			d.removeAssignment(a)
		}
	}
}
