package main

import (
	"strings"

	"github.com/unisondb/unisondb/command"
)

// commandGroup is a heading of the page of commands: a group with its leaves, or a leaf alone.
type commandGroup struct {
	command.CommandDoc
	Leaves []command.CommandDoc
}

// commandGroups are the commands of the top level, with everything below them.
func commandGroups() []commandGroup {
	var groups []commandGroup
	for _, c := range command.Reference() {
		if !strings.Contains(c.Name, " ") {
			groups = append(groups, commandGroup{CommandDoc: c})
			continue
		}
		last := &groups[len(groups)-1]
		last.Leaves = append(last.Leaves, c)
	}
	return groups
}

// IsGroup says that a command only has others below it.
func (g commandGroup) IsGroup() bool { return len(g.Children) > 0 }
