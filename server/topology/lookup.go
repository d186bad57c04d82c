package topology

import (
	"maps"
	"reflect"
	"slices"
)

// lookup is the assignments sorted by what is asked of them. It follows from the state,
// is never changed, and is made anew in the parts that a command changes: with thousands of assignments no
// question has to go over all of them.
type lookup struct {
	explicit   map[string][]string      // by relayer: namespaces that are assigned to it by its id, sorted
	general    map[string][]*Assignment // by namespace: those by pattern or selector, by key
	replicated []string                 // namespaces whose replicate setting names relayers, sorted
}

// lookup of a state that was put together by hand is made for each question.
func (s *State) lookup() *lookup {
	if s.derived != nil {
		return s.derived
	}
	l := &lookup{explicit: map[string][]string{}, general: map[string][]*Assignment{}}
	for _, a := range s.Assignments {
		if a.explicit() {
			l.explicit[a.Relayer] = append(l.explicit[a.Relayer], a.Namespace)
		} else {
			l.general[a.Namespace] = append(l.general[a.Namespace], a)
		}
	}
	for _, names := range l.explicit {
		slices.Sort(names)
	}
	for _, as := range l.general {
		slices.SortFunc(as, byKey)
	}
	for name, ns := range s.Namespaces {
		if ns.pushes() {
			l.replicated = append(l.replicated, name)
		}
	}
	slices.Sort(l.replicated)
	return l
}

func byKey(a, b *Assignment) int {
	switch x, y := a.Key(), b.Key(); {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

// explicit says whether an assignment names one relayer.
func (a *Assignment) explicit() bool { return a.Relayer != "" && !isPattern(a.Relayer) }

// pushes says whether the namespace's own setting gives it to relayers.
func (n *Namespace) pushes() bool {
	r := n.Settings.Replicate
	return r != nil && len(r.Relayers)+len(r.Selector) > 0
}

// The changes of a draft that the lookup follows.

func (d *draft) addAssignment(a *Assignment) {
	d.assignments()[a.Key()] = a
	l := *d.derived
	if a.explicit() {
		l.explicit = edited(l.explicit, a.Relayer, inserted(l.explicit[a.Relayer], a.Namespace))
	} else {
		as := append(slices.Clone(l.general[a.Namespace]), a)
		slices.SortFunc(as, byKey)
		l.general = edited(l.general, a.Namespace, as)
	}
	d.derived = &l
}

func (d *draft) removeAssignment(a *Assignment) {
	delete(d.assignments(), a.Key())
	l := *d.derived
	if a.explicit() {
		l.explicit = edited(l.explicit, a.Relayer, without(l.explicit[a.Relayer], a.Namespace))
	} else {
		l.general = edited(l.general, a.Namespace, without(l.general[a.Namespace], a))
	}
	d.derived = &l
}

// setNamespace puts a namespace in, or takes it out where ns is nil.
func (d *draft) setNamespace(name string, ns *Namespace) {
	old := d.Namespaces[name]
	had, has := old != nil && old.pushes(), ns != nil && ns.pushes()
	if ns == nil {
		delete(d.namespaces(), name)
	} else {
		d.namespaces()[name] = ns
	}
	if had == has {
		return
	}
	l := *d.derived
	if has {
		l.replicated = inserted(l.replicated, name)
	} else {
		l.replicated = without(l.replicated, name)
	}
	d.derived = &l
}

// edited is a copy of a map with another value for a key, and without the key where the value is empty.
func edited[V any](m map[string][]V, key string, value []V) map[string][]V {
	m = maps.Clone(m)
	if len(value) == 0 {
		delete(m, key)
	} else {
		m[key] = value
	}
	return m
}

// inserted is a copy of a sorted list with one more name.
func inserted(names []string, name string) []string {
	at, found := slices.BinarySearch(names, name)
	if found {
		return names
	}
	return slices.Insert(slices.Clone(names), at, name)
}

// without is a copy of a list without one of its members.
func without[V comparable](all []V, one V) []V {
	return slices.DeleteFunc(slices.Clone(all), func(v V) bool { return v == one })
}

// sameMap says whether two maps are one.
func sameMap[V any](a, b map[string]V) bool {
	return reflect.ValueOf(a).UnsafePointer() == reflect.ValueOf(b).UnsafePointer()
}
