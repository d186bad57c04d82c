package command

import (
	"errors"
	"strings"
	"testing"
)

func TestDispatch(t *testing.T) {
	tests := []struct {
		args   string
		status int
		stdout string // a part; empty: nothing may be there
		stderr string // likewise
	}{
		{"", exitUsage, "", "Usage: unisondb <command>"},
		{"-help", exitDone, "Usage: unisondb <command>", ""},
		{"--help", exitDone, "Usage: unisondb <command>", ""},
		{"help", exitDone, "Usage: unisondb <command>", ""},
		{"help kv", exitDone, "Usage: unisondb kv <command>", ""},
		{"help kv get", exitDone, "Usage: unisondb kv get [options] KEY", ""},
		{"kv -help", exitDone, "Usage: unisondb kv <command>", ""},
		{"kv get -h", exitDone, "Usage: unisondb kv get [options] KEY", ""},
		{"-version", exitDone, "UnisonDB 1.2.3", ""},
		{"kvv", exitUsage, "", `unknown command "kvv": did you mean "kv"?`},
		{"kvv -help", exitUsage, "", `unknown command "kvv"`},
		{"something else", exitUsage, "", `unknown command "something"`},
		{"-json status", exitUsage, "", "put flags behind it"},
		{"kv", exitUsage, "", "unisondb kv needs a command"},
		{"kv -json", exitUsage, "", "unisondb kv needs a command"},
		{"kv gte x", exitUsage, "", `unknown command "kv gte": did you mean "get"?`},
		{"kv get", exitUsage, "", "KEY is missing: unisondb kv get KEY"},
		{"kv put k", exitUsage, "", "VALUE is missing"},
		{"kv get a b", exitUsage, "", `"b" is too much`},
		{"status x", exitUsage, "", "takes no arguments"},
		{"kv get -jsn k", exitUsage, "", "unknown flag -jsn: did you mean -json?"},
		{"kv get --frobnicate k", exitUsage, "", "unknown flag --frobnicate: if it is an argument, put -- before it"},
		{"kv get k -address", exitUsage, "", "-address needs a value: -address=URL"},
		{"kv list -limit=many", exitUsage, "", "-limit=many: not a value that this flag takes"},
		{"kv get -address=tcp://x k", exitUsage, "", "use http or https"},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			h := newHarness(t, success)
			got := h.run(strings.Fields(tt.args)...)
			if got.status != tt.status {
				t.Errorf("status %d, want %d", got.status, tt.status)
			}
			for _, s := range []struct{ name, got, want string }{{"stdout", got.stdout, tt.stdout}, {"stderr", got.stderr, tt.stderr}} {
				if s.want == "" && s.got != "" || !strings.Contains(s.got, s.want) {
					t.Errorf("%s: got %q, want %q", s.name, s.got, s.want)
				}
			}
			if n := h.requestCount(); n != 0 {
				t.Errorf("%d requests were sent", n)
			}
		})
	}
}

func TestRunIsDispatch(t *testing.T) {
	h := newHarness(t, success)
	var stdout, stderr lockedBuffer
	p := h.process(&stdout, &stderr)
	p.Args = []string{"version"}
	if status := Run(p); status != exitDone || !strings.HasPrefix(stdout.String(), "UnisonDB 1.2.3 (commit abc") {
		t.Errorf("status %d, stdout %q", status, stdout.String())
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// TestFullDisk: output that can't be written is a failure, and not a silent one.
func TestFullDisk(t *testing.T) {
	list := answer(200, `{"items":[{"key":"a","value":""}]}`)
	for _, args := range [][]string{{"version"}, {"version", "-json"}, {"kv", "list"}, {"kv", "list", "-json"}, {"lob", "get", "k"}} {
		h := newHarness(t, list)
		got := h.runWith(func(m *Meta) { m.stdout = brokenWriter{} }, args...)
		got.want(t, exitFailed, "", "no space left on device")
		if strings.Contains(got.stderr, "whether it was written") {
			t.Errorf("%v: %s", args, got.stderr)
		}
	}
}
