package filter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// Limits of a filter.
const (
	maxConditions = 256
	maxValues     = 1000 // of one "in"
)

// Filter is a condition on metadata. One of
//
//	{"and": [filter, …]}   all hold
//	{"or": [filter, …]}    at least one holds
//	{"not": filter}        it doesn't hold
//	{"field": path, …}     a value at the path satisfies all the tests beside it:
//	                       "eq", "in", "gt", "gte", "lt", "lte", or "exists"
//
// Tests compare values of one type alone: numbers as float64, strings byte by byte;
// true, false and null only by "eq" and "in". Where the path is a list, it is enough
// that one member satisfies them all. An absent field satisfies nothing but
// "exists": false, and so satisfies each "not".
type Filter struct {
	kind  kind
	parts []*Filter

	path   string
	in     []scalar // "eq" is an "in" of one
	bounds []bound
	exists *bool
}

type kind uint8

const (
	kindField kind = iota
	kindAnd
	kindOr
	kindNot
)

// bound is one end of a range.
type bound struct {
	operator string
	value    scalar
	text     []byte // the value's, to compare without allocating
}

// Parse reads a filter.
func Parse(raw []byte) (*Filter, error) {
	budget := maxConditions
	f, err := parse(raw, &budget, 1)
	if err != nil {
		return nil, fmt.Errorf("filter: %w", err)
	}
	return f, nil
}

const usage = `use {"field": …, "eq": …}, {"and": […]}, {"or": […]} or {"not": …}`

func parse(raw []byte, budget *int, depth int) (*Filter, error) {
	if *budget--; *budget < 0 {
		return nil, fmt.Errorf("it has more than %d conditions: use fewer, or \"in\"", maxConditions)
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("it is nested deeper than %d levels: make it flatter", maxDepth)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil || members == nil {
		return nil, fmt.Errorf("%.60s is no JSON object: %s", raw, usage)
	}
	for name, k := range map[string]kind{"and": kindAnd, "or": kindOr, "not": kindNot} {
		inner, ok := members[name]
		if !ok {
			continue
		}
		if len(members) > 1 {
			return nil, fmt.Errorf("%q has other members beside it: put each into an object of its own", name)
		}
		return parseGroup(name, k, inner, budget, depth)
	}
	return parseField(members)
}

func parseGroup(name string, k kind, inner json.RawMessage, budget *int, depth int) (*Filter, error) {
	parts := []json.RawMessage{inner}
	if k != kindNot {
		if err := json.Unmarshal(inner, &parts); err != nil || len(parts) == 0 {
			return nil, fmt.Errorf("%q takes a list of at least one filter", name)
		}
	}
	f := &Filter{kind: k}
	for _, part := range parts {
		p, err := parse(part, budget, depth+1)
		if err != nil {
			return nil, err
		}
		f.parts = append(f.parts, p)
	}
	return f, nil
}

func parseField(members map[string]json.RawMessage) (*Filter, error) {
	f := &Filter{}
	raw, ok := members["field"]
	if !ok {
		return nil, fmt.Errorf("a condition has no \"field\": %s", usage)
	}
	if err := json.Unmarshal(raw, &f.path); err != nil || f.path == "" {
		return nil, errors.New("\"field\" is the name of a member of the metadata, as a string; names of nested ones are joined by dots")
	}
	if len(members) == 1 {
		return nil, fmt.Errorf("the condition on %q tests nothing: add \"eq\", \"in\", \"gt\", \"gte\", \"lt\", \"lte\" or \"exists\"", f.path)
	}
	count := len(members)
	for _, name := range []string{"eq", "in", "gt", "gte", "lt", "lte", "exists"} {
		if raw, ok := members[name]; ok {
			if err := f.test(name, raw, count); err != nil {
				return nil, fmt.Errorf("%q of field %q: %w", name, f.path, err)
			}
			delete(members, name)
		}
	}
	delete(members, "field")
	for name := range members {
		return nil, fmt.Errorf("unknown test %q of field %q: use \"eq\", \"in\", \"gt\", \"gte\", \"lt\", \"lte\" or \"exists\"", name, f.path)
	}
	return f, nil
}

// test adds one of the tests of a field that has so many members.
func (f *Filter) test(name string, raw json.RawMessage, members int) error {
	switch name {
	case "exists":
		if members > 2 {
			return errors.New("it stands alone: a field that satisfies another test exists")
		}
		f.exists = new(bool)
		if err := json.Unmarshal(raw, f.exists); err != nil || string(raw) == "null" {
			return errors.New("use true or false")
		}
	case "eq":
		v, err := parseScalar(raw)
		f.in = []scalar{v}
		return err
	case "in":
		if f.in != nil {
			return errors.New("it can't stand beside \"eq\": use one of them")
		}
		var values []json.RawMessage
		if err := json.Unmarshal(raw, &values); err != nil || len(values) == 0 || len(values) > maxValues {
			return fmt.Errorf("use a list of 1 to %d values", maxValues)
		}
		for _, raw := range values {
			v, err := parseScalar(raw)
			if err != nil {
				return err
			}
			f.in = append(f.in, v)
		}
	default:
		v, err := parseScalar(raw)
		if err == nil && v.kind != kindNumber && v.kind != kindString {
			err = errors.New("only numbers and strings have an order: use one")
		}
		f.bounds = append(f.bounds, bound{operator: name, value: v, text: []byte(v.text)})
		return err
	}
	return nil
}

func parseScalar(raw json.RawMessage) (scalar, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	t, err := d.Token()
	if err != nil {
		return scalar{}, err
	}
	return scalarOf(t)
}

// Match says whether the attributes of a vector satisfy the filter; no attributes
// are those of a vector without metadata. It is safe for concurrent use.
func (f *Filter) Match(attributes []byte) bool {
	switch f.kind {
	case kindAnd:
		for _, p := range f.parts {
			if !p.Match(attributes) {
				return false
			}
		}
		return true
	case kindOr:
		for _, p := range f.parts {
			if p.Match(attributes) {
				return true
			}
		}
		return false
	case kindNot:
		return !f.parts[0].Match(attributes)
	}
	return f.matchField(attributes)
}

func (f *Filter) matchField(attributes []byte) bool {
	for len(attributes) > 0 {
		var a attribute
		a, attributes = next(attributes)
		switch {
		case f.exists != nil:
			if string(a.path) == f.path || len(a.path) > len(f.path) && a.path[len(f.path)] == '.' && string(a.path[:len(f.path)]) == f.path {
				return *f.exists
			}
		case string(a.path) == f.path && f.satisfied(a):
			return true
		}
	}
	return f.exists != nil && !*f.exists
}

func (f *Filter) satisfied(a attribute) bool {
	if f.in != nil && !a.in(f.in) {
		return false
	}
	for _, b := range f.bounds {
		if !a.within(b) {
			return false
		}
	}
	return true
}

func (a attribute) in(values []scalar) bool {
	for i := range values {
		v := &values[i]
		if a.kind == v.kind && a.number == v.number && string(a.text) == v.text && a.kind != kindEmpty {
			return true
		}
	}
	return false
}

func (a attribute) within(b bound) bool {
	if a.kind != b.value.kind {
		return false
	}
	var order int
	switch {
	case a.kind == kindString:
		order = bytes.Compare(a.text, b.text)
	case a.number < b.value.number:
		order = -1
	case a.number > b.value.number:
		order = 1
	}
	switch b.operator {
	case "gt":
		return order > 0
	case "gte":
		return order >= 0
	case "lt":
		return order < 0
	default:
		return order <= 0
	}
}
