package command

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestCompletionWords(t *testing.T) {
	namespaces := answer(http.StatusOK, `[{"name":"default"},{"name":"inventory"}]`)
	for _, tt := range []struct {
		words string // between spaces
		want  string // words, and :files with what stands before
	}{
		{"kv", "kv"},
		{"kv ", "delete get list put"},
		{"kv g", "get"},
		{"nothing ", ""},
		{"kv nothing ", ""},
		{"hel", "help"},
		{"help kv g", "get"},
		{"help kv get ", ""},
		{"operator relayer tok", "token"},
		{"operator relayer token l", "list"},
		{"kv get -js", "-json"},
		{"kv get --js", "--json"},
		{"kv get -at", "-at-least="},
		{"kv get -json -at", "-at-least="},
		{"kv get -hel", "-help"},
		{"kv get -at-least=", ""},
		{"kv get -json=", ""},
		{"kv get -- -js", ""},
		{"kv get key -js", "-json"},
		{"config validate -role=", "-role=hub -role=relayer"},
		{"config validate --role=r", "--role=relayer"},
		{"config validate -role h", "hub"},
		{"config validate ", ":files"},
		{"config validate a b", ":files"},
		{"operator plugin register hooks -kind=", "-kind=model -kind=notifier"},
		{"operator plugin register hooks -run-on=", "-run-on=every -run-on=owner"},
		{"operator plugin register hooks -config=", ""},
		{"operator plugin register hooks -config=@h", ":files-config=@"},
		{"operator plugin register hooks -namespaces=default,in", "-namespaces=default,inventory"},
		{"server -config=/etc", ":files-config="},
		{"server -config /etc", ":files"},
		{"tls ca create -out=", ":files-out="},
		{"kv put key @v", ":files@"},
		{"kv put key v", ""},
		{"lob put key ", ":files"},
		{"kv get -namespace=", "-namespace=default -namespace=inventory"},
		{"kv get -namespace in", "inventory"},
		{"operator namespace info i", "inventory"},
		{"operator namespace create i", ""},
		{"operator namespace info default i", ""},
	} {
		h := newHarness(t, namespaces)
		got := h.run(append([]string{"completion", "words", "--"}, strings.Split(tt.words, " ")...)...)
		var words []string
		for line := range strings.Lines(got.stdout) {
			word, rest, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
			if word == ":files" {
				word += rest
			}
			if words = append(words, word); !ok {
				t.Errorf("%q: a line without a tab: %q", tt.words, line)
			}
		}
		slices.Sort(words)
		if got.status != exitDone || got.stderr != "" || strings.Join(words, " ") != tt.want {
			t.Errorf("%q: %q, want %q; status %d, %s", tt.words, words, tt.want, got.status, got.stderr)
		}
	}
}

// TestCompletionKnowsEveryCommand walks the registry from the top, as a user does.
func TestCompletionKnowsEveryCommand(t *testing.T) {
	found := map[string]bool{}
	var walk func(name string)
	walk = func(name string) {
		words := append(strings.Fields(name), "")
		for _, w := range testMeta().complete(t.Context(), words).Words {
			child := strings.TrimSpace(name + " " + w.Word)
			if _, ok := testMeta().commands()[child]; ok && !found[child] {
				found[child] = true
				walk(child)
			}
		}
	}
	walk("")
	for name := range testMeta().commands() {
		if !found[name] {
			t.Errorf("%q isn't completed", name)
		}
	}
}

func TestCompletionWordsMean(t *testing.T) {
	h := newHarness(t, success)
	h.run("completion", "words", "-json", "--", "config", "va").wantJSON(t, exitDone,
		`{"words":[{"word":"validate","about":"Check configuration files"}],"files":false,"prefix":""}`)
	h.run("completion", "words", "-json", "--", "config", "validate", "-rol").wantJSON(t, exitDone,
		`{"words":[{"word":"-role=","about":"Check for a node of this role: hub or relayer"}],"files":false,"prefix":""}`)
}

// TestCompletionWithoutANode offers nothing, and says nothing.
func TestCompletionWithoutANode(t *testing.T) {
	for _, h := range []*harness{
		newHarness(t, answer(http.StatusInternalServerError, `{"error":"broken","code":"INTERNAL"}`)),
		newHarness(t, success),
	} {
		h.run("completion", "words", "--", "kv", "get", "-namespace=").want(t, exitDone, "")
	}
	h := newHarness(t, success)
	h.run("completion", "words", "--", "kv", "get", "-address=nonsense", "-namespace=").want(t, exitDone, "")
	if h.requestCount() > 0 {
		t.Error("it asked another node than the command line names")
	}
}

// TestCompletionAsksTheNodeOfTheCommandLine, with the flags that are there.
func TestCompletionAsksTheNodeOfTheCommandLine(t *testing.T) {
	h := newHarness(t, answer(http.StatusOK, `[{"name":"there"}]`))
	address := h.env[envAddress]
	h.env[envAddress] = "http://127.0.0.1:1"
	h.run("completion", "words", "--", "kv", "get", "-token=s3cret", "-address", address, "-namespace=").want(t, exitDone, "-namespace=there\t\n")
	if got := h.last().header.Get("Authorization"); got != "Bearer s3cret" {
		t.Errorf("it asked with %q", got)
	}
}
