package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// State is what a replica has put together. Each writer keeps its parts under keys of
// its own, in the namespace of its hub:
//
//	visits/<writer>   the writer's number, as decimal text
//	title/<writer>    the writer's entry, as JSON
type State struct {
	Visits Counter
	Title  Register
}

const (
	visitsPrefix = "visits/"
	titlePrefix  = "title/"
)

// Merge merges part by part.
func (s State) Merge(other State) State {
	return State{Visits: s.Visits.Merge(other.Visits), Title: s.Title.Merge(other.Title)}
}

// parse reads one key as a state, which is merged into others like any.
func parse(key string, value []byte) (State, error) {
	var s State
	if writer, ok := strings.CutPrefix(key, visitsPrefix); ok {
		n, err := strconv.ParseUint(string(value), 10, 64)
		if err != nil {
			return State{}, fmt.Errorf("key %s holds %q, which is no number: remove it", key, value)
		}
		s.Visits = Counter{writer: n}
		return s, nil
	}
	if writer, ok := strings.CutPrefix(key, titlePrefix); ok {
		var e Entry
		if err := json.Unmarshal(value, &e); err != nil || e.Writer != writer {
			return State{}, fmt.Errorf("key %s holds %q, which is no entry of its writer: remove it", key, value)
		}
		s.Title = Register{writer: e}
		return s, nil
	}
	return s, nil // somebody else's key
}

// String is the state in one line.
func (s State) String() string {
	line := fmt.Sprintf("visits=%d", s.Visits.Value())
	title, ok := s.Title.Winner()
	if !ok {
		return line
	}
	line += fmt.Sprintf(" title='%s' stamp=%d:%s", title.Value, title.Counter, title.Writer)
	for _, lost := range s.Title.Lost() {
		line += fmt.Sprintf(" concurrent='%s'", lost.Value)
	}
	return line
}
