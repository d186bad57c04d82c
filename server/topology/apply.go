package topology

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
)

// applyEntry makes one entry of the group's log into the next state. What it was
// refused for, if it was, is refused; the state has moved on by the index alone then.
// unreadable says that this build can't read the entry: s is answered as it is, and the
// node must take no further part, for it would agree to something else than the others.
func (s *State) applyEntry(index uint64, entry []byte) (next *State, refused *Error, unreadable error) {
	c, _, err := decode(entry)
	if err != nil {
		return s, nil, err
	}
	next, err = s.apply(index, c)
	refused, _ = err.(*Error) //nolint:errorlint // apply answers nothing else
	next.Chain = chained(s.Chain, index, entry, refused)
	return next, refused, nil
}

// chained is the hash of a history that goes on with one entry and what came of it.
func chained(chain Hash, index uint64, entry []byte, refused *Error) Hash {
	h := sha256.New()
	h.Write(chain[:])
	h.Write(binary.BigEndian.AppendUint64(nil, index))
	if refused != nil {
		h.Write([]byte(refused.Code))
	}
	h.Write([]byte{0})
	h.Write(entry)
	return Hash(h.Sum(nil))
}

// apply is the state after a command, nil for one that is skipped. It is pure: the same state and
// command give the same state and refusal on every member. The error is an *Error, and
// the state then is as before but for its index.
func (s *State) apply(index uint64, c Command) (*State, error) {
	if c == nil {
		return s.at(index), nil
	}
	d := &draft{State: *s}
	d.derived = s.lookup()
	if _, begins := c.(Begin); s.Cluster == "" && !begins {
		return s.at(index), refuse(CodeNotBootstrapped, "the group of hubs hasn't begun: wait for its first leader")
	}
	if err := c.apply(d); err != nil {
		return s.at(index), err
	}
	d.Index = index
	if !forms[c.Kind()].ignorable {
		d.MinReader = max(d.MinReader, c.Kind())
	}
	return &d.State, nil
}

// at is the same state at another index.
func (s *State) at(index uint64) *State {
	next := *s
	next.Index = index
	return &next
}

// draft is a state that is being made. Its maps are those of the state before until
// one is changed: then it is copied, once.
type draft struct {
	State
	copied struct{ hubs, namespaces, deleted, relayers, assignments, plugins, tokens bool }
}

// own makes a map the draft's.
func own[V any](m *map[string]V, copied *bool) map[string]V {
	if !*copied {
		if *m = maps.Clone(*m); *m == nil {
			*m = map[string]V{}
		}
		*copied = true
	}
	return *m
}

func (d *draft) hubs() map[string]*Hub             { return own(&d.Hubs, &d.copied.hubs) }
func (d *draft) namespaces() map[string]*Namespace { return own(&d.Namespaces, &d.copied.namespaces) }
func (d *draft) deleted() map[string]*Namespace    { return own(&d.Deleted, &d.copied.deleted) }
func (d *draft) relayers() map[string]*Relayer     { return own(&d.Relayers, &d.copied.relayers) }
func (d *draft) assignments() map[string]*Assignment {
	return own(&d.Assignments, &d.copied.assignments)
}
func (d *draft) plugins() map[string]*Plugin { return own(&d.Plugins, &d.copied.plugins) }
func (d *draft) tokens() map[string]*Token   { return own(&d.Tokens, &d.copied.tokens) }
