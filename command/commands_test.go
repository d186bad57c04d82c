package command

import (
	"flag"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
)

// printNoData are the leaves that print no data, or bytes that are not ours to
// put into JSON.
var printNoData = []string{"server", "relayer", "lob get", "completion bash", "completion fish", "completion zsh"}

func testMeta() *Meta {
	return newMeta(Process{
		Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard,
		Env: func(string) (string, bool) { return "", false },
	})
}

// TestEveryLeaf walks the registry: each command has help with a usage line and
// examples that are right, a synopsis, -json, a file and a test.
func TestEveryLeaf(t *testing.T) {
	for name, newLeaf := range leaves {
		t.Run(name, func(t *testing.T) {
			m := testMeta()
			command := &leafCommand{Meta: m, name: name, leaf: newLeaf(m)}
			help := command.Help()
			if !strings.HasPrefix(help, "Usage: unisondb "+name+" [options]") {
				t.Errorf("help doesn't begin with a usage line:\n%s", help)
			}
			for _, line := range strings.Split(help, "\n") {
				if len([]rune(line)) > 80 {
					t.Errorf("help is wider than 80 columns: %s", line)
				}
			}
			if s := command.Synopsis(); s == "" || len(s) > 50 || strings.HasSuffix(s, ".") {
				t.Errorf("synopsis %q: want a few words without a full stop", s)
			}
			fs := command.flagSet()
			if (fs.Lookup("json") == nil) != slices.Contains(printNoData, name) {
				t.Error("a command has -json where it prints data, and only there")
			}
			fs.VisitAll(func(f *flag.Flag) {
				if f.Usage == "" || !strings.HasSuffix(f.Usage, ".") {
					t.Errorf("-%s: %q is no sentence", f.Name, f.Usage)
				}
				if !isSwitch(f) && !strings.Contains(f.Usage, "`") {
					t.Errorf("-%s doesn't name its value", f.Name)
				}
			})
			testExamples(t, name, newLeaf)
			base := strings.NewReplacer(" ", "_", "-", "_").Replace(name)
			for _, file := range []string{base + ".go", base + "_test.go"} {
				if _, err := os.Stat(file); err != nil {
					t.Errorf("a leaf command has a file and a test of its own: %v", err)
				}
			}
		})
	}
}

// testExamples parses the examples of a command's help as the command itself
// would.
func testExamples(t *testing.T, name string, newLeaf func(*Meta) leaf) {
	t.Helper()
	m := testMeta()
	examples := newLeaf(m).spec().examples
	if len(examples) == 0 {
		t.Error("no example")
	}
	for _, example := range examples {
		_, rest, ok := strings.Cut(example, "unisondb "+name)
		if !ok {
			t.Errorf("example of another command: %s", example)
			continue
		}
		rest, _, _ = strings.Cut(rest, ">")
		rest, _, _ = strings.Cut(rest, "|")
		m := testMeta()
		command := &leafCommand{Meta: m, name: name, leaf: newLeaf(m)}
		args, err := parse(command.flagSet(), strings.Fields(rest))
		if err == nil {
			err = command.checkArgs(args)
		}
		if err != nil {
			t.Errorf("%s: %v", example, err)
		}
	}
}

// TestEveryGroup holds groups and leaves against each other.
func TestEveryGroup(t *testing.T) {
	m := testMeta()
	all := m.commands()
	for name := range groups {
		command, err := all[name]()
		if err != nil {
			t.Fatal(err)
		}
		help := command.Help()
		if !strings.HasPrefix(help, "Usage: unisondb "+name+" <command>") || !strings.Contains(help, "$ unisondb "+name+" ") {
			t.Errorf("help of %q lacks a usage line or an example:\n%s", name, help)
		}
		if command.Synopsis() == "" {
			t.Errorf("%q has no synopsis", name)
		}
	}
	for name := range leaves {
		if group, _, nested := strings.Cut(name, " "); nested {
			if _, ok := groups[group]; !ok {
				t.Errorf("%q is in no group", name)
			}
		}
		if _, both := groups[name]; both {
			t.Errorf("%q is a leaf and a group", name)
		}
	}
}
