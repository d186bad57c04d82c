package docs

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCommands(t *testing.T) {
	for _, tt := range []struct {
		text string
		want [][]string
	}{
		{"unisondb kv get a", [][]string{{"unisondb", "kv", "get", "a"}}},
		{"a 'b  c' \"d e\" f\\ g ''", [][]string{{"a", "b  c", "d e", "f g", ""}}},
		{"a \\\n  b\nc", [][]string{{"a", "b"}, {"c"}}},
		{"a | b && c || d; e & f", [][]string{{"a"}, {"b"}, {"c"}, {"d"}, {"e"}, {"f"}}},
		{"a # b; c\nd", [][]string{{"a"}, {"d"}}},
		{"a#b", [][]string{{"a#b"}}},
		{"A=b C=\"d e\" f G=h", [][]string{{"f", "G=h"}}},
		{"p=$(a b)", [][]string{{"a", "b"}}},
		{"a \"$(b c | d)\" e", [][]string{{"b", "c"}, {"d"}, {"a", "$()", "e"}}},
		{"a > b 2>&1 < c >>d -e", [][]string{{"a", "-e"}}},
		{"a 2 > b", [][]string{{"a", "2"}}},
		{"cat <<EOF > b\nunisondb no\nEOF\nc", [][]string{{"cat"}, {"c"}}},
		{"a <<< b c", [][]string{{"a", "c"}}},
		{"if a; then b; fi", [][]string{{"a"}, {"b"}}},
		{"for i in 1 2; do\n a $i\ndone", [][]string{{"for", "i", "in", "1", "2"}, {"a", "$i"}}},
		{"a ${b:-c d} e", [][]string{{"a", "${b:-c d}", "e"}}},
		{"(a; b)", [][]string{{"a"}, {"b"}}},
		{"a '{\"x\": \"y\"}'", [][]string{{"a", `{"x": "y"}`}}},
	} {
		got, err := commandsOf(tt.text)
		if err != nil {
			t.Errorf("%q: %v", tt.text, err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%q: %s", tt.text, diff)
		}
	}
	for _, text := range []string{"a 'b", `a "b`, "a $(b", "a ${b"} {
		if _, err := commandsOf(text); err == nil {
			t.Errorf("%q is split", text)
		}
	}
}

func TestOurs(t *testing.T) {
	for text, want := range map[string][][]string{
		"bin/unisondb status | jq .":                     {{"status"}},
		"sudo -u unisondb unisondb config validate /etc": {{"config", "validate", "/etc"}},
		"sudo -n unisondb status":                        {{"status"}},
		"sudo systemctl start unisondb":                  nil,
		"UNISONDB_ADDR=a exec unisondb status":           {{"status"}},
	} {
		commands, err := commandsOf(text)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, ours(commands)); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
}

func TestLastCommand(t *testing.T) {
	for _, tt := range []struct {
		lines []string
		want  int
	}{
		{[]string{"a"}, 0},
		{[]string{"a", "b", "", "# c"}, 1},
		{[]string{"a", "b \\", "  c"}, 1},
		{[]string{"a", "b |", "  c"}, 1},
		{[]string{"a", "b '", "", "'"}, 1},
		{[]string{"a", "for i in 1 2; do", "  b", "done"}, 1},
		{[]string{"a", "cat <<X", "b", "X"}, 1},
		{[]string{"cat <<X", "b", "X", "a"}, 3},
	} {
		if got, err := lastCommand(tt.lines); err != nil || got != tt.want {
			t.Errorf("%q: line %d, %v; expected %d", tt.lines, got, err, tt.want)
		}
	}
	if _, err := lastCommand([]string{"# a"}); err == nil {
		t.Error("a comment is taken for a command")
	}
}
