package command

import (
	"flag"
	"slices"
	"strings"
	"testing"
)

// TestReferenceHasEveryCommandAndFlag holds the reference against the help that users see.
func TestReferenceHasEveryCommandAndFlag(t *testing.T) {
	docs := map[string]CommandDoc{}
	for _, d := range Reference() {
		docs[d.Name] = d
		if d.Synopsis == "" || d.About == "" || (len(d.Examples) == 0) == (len(d.Children) == 0) {
			t.Errorf("%s: a command has a synopsis, a description, and examples or commands below it", d.Name)
		}
	}
	m := testMeta()
	for name := range m.commands() {
		if _, ok := docs[name]; !ok {
			t.Errorf("%s is missing", name)
		}
	}
	for name, newLeaf := range leaves {
		l := &leafCommand{Meta: m, name: name, leaf: newLeaf(m)}
		l.flagSet().VisitAll(func(f *flag.Flag) {
			has := func(d FlagDoc) bool { return d.Name == f.Name && d.Help != "" && (d.Value == "") == isSwitch(f) }
			if !slices.ContainsFunc(docs[name].Flags, has) && !(docs[name].Client && slices.ContainsFunc(ConnectionFlags(), has)) {
				t.Errorf("%s: flag -%s is missing or not described", name, f.Name)
			}
			if !isNothing(f.DefValue) && !strings.Contains(f.Usage, "Default: ") {
				t.Errorf("%s: -%s=%s by default, and its help doesn't say so", name, f.Name, f.DefValue)
			}
		})
	}
}

// isNothing says that a flag's default is not to be there.
func isNothing(value string) bool { return slices.Contains([]string{"", "0", "0s", "false"}, value) }

// TestEnvironment: each variable is one of a flag, which says so in its help.
func TestEnvironment(t *testing.T) {
	for _, e := range Environment() {
		i := slices.IndexFunc(ConnectionFlags(), func(f FlagDoc) bool { return f.Name == e.Flag })
		if i < 0 || !strings.Contains(ConnectionFlags()[i].Help, "$"+e.Name) {
			t.Errorf("%s isn't in the help of -%s", e.Name, e.Flag)
		}
	}
}
