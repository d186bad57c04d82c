package command

import (
	"errors"
	"flag"
	"io"
	"reflect"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	tests := []struct {
		args string // separated by spaces
		rest []string
		name string
		on   bool
		list []string
		bad  string // part of the error
	}{
		{args: "", rest: nil},
		{args: "-name=x a", rest: []string{"a"}, name: "x"},
		{args: "--name=x a", rest: []string{"a"}, name: "x"},
		{args: "-name x a", rest: []string{"a"}, name: "x"},
		{args: "a -name x -on b", rest: []string{"a", "b"}, name: "x", on: true},
		{args: "-on a", rest: []string{"a"}, on: true},
		{args: "-on=false a", rest: []string{"a"}},
		{args: "-on=maybe", bad: "-on=maybe"},
		{args: "-name=a=b", name: "a=b"},
		{args: "-name= a", rest: []string{"a"}},
		{args: "-name -- a", rest: []string{"a"}, name: "--"}, // the value of a flag ends nothing
		{args: "-name -on a", rest: []string{"a"}, name: "-on"},
		{args: "a -- -name=x -- b", rest: []string{"a", "-name=x", "--", "b"}},
		{args: "- a", rest: []string{"-", "a"}},
		{args: "-list=1 a -list 2", rest: []string{"a"}, list: []string{"1", "2"}},
		{args: "-name", bad: "-name needs a value: -name=WORD"},
		{args: "-nam=x", bad: "unknown flag -nam: did you mean -name?"},
		{args: "-7", bad: "put -- before it, as in '-- -7'"},
		{args: "-=x", bad: "unknown flag -"},
		{args: "---name=x", bad: "unknown flag"},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			var name string
			var on bool
			var list stringList
			fs := flag.NewFlagSet("", flag.ContinueOnError)
			fs.SetOutput(io.Discard)
			fs.StringVar(&name, "name", "", "A `word`.")
			fs.BoolVar(&on, "on", false, "A switch.")
			fs.Var(&list, "list", "A `word`; may be repeated.")
			rest, err := parse(fs, strings.Fields(tt.args))
			if tt.bad != "" {
				var usage *usageError
				if !errors.As(err, &usage) || !strings.Contains(err.Error(), tt.bad) {
					t.Errorf("got %v, want a usage error with %q", err, tt.bad)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(rest, tt.rest) || name != tt.name || on != tt.on || !reflect.DeepEqual([]string(list), tt.list) {
				t.Errorf("got %q, name %q, on %v, list %q", rest, name, on, list)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add("-name=x a -- -b")
	f.Add("--=\n-\n---")
	f.Fuzz(func(t *testing.T, s string) {
		args := strings.Split(s, "\n")
		fs := flag.NewFlagSet("", flag.ContinueOnError)
		fs.String("name", "", "A `word`.")
		fs.Bool("on", false, "A switch.")
		rest, err := parse(fs, args)
		if err == nil && len(rest) > len(args) {
			t.Errorf("%q became %q", args, rest)
		}
	})
}

func TestNearest(t *testing.T) {
	names := []string{"get", "put", "delete", "list"}
	for got, want := range map[string]string{
		"gte": "get", "pt": "put", "delet": "delete", "deelte": "delete", "lits": "list", "history": "", "": "", "xyz": "",
	} {
		if near := nearest(got, names); near != want {
			t.Errorf("nearest to %q: %q, want %q", got, near, want)
		}
	}
}

func TestWrap(t *testing.T) {
	text := strings.Repeat("word ", 40) + "\n\nsecond"
	for line := range strings.SplitSeq(wrap(text, "    "), "\n") {
		if len(line) > 80 || strings.HasSuffix(line, " ") || line != "" && !strings.HasPrefix(line, "    ") {
			t.Errorf("%q", line)
		}
	}
	if got := wrap("ä ö", ""); got != "ä ö" {
		t.Errorf("%q", got)
	}
}
