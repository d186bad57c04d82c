//go:build newercommands

package topology

import (
	"bufio"
	"encoding/json"
	"os"
	"testing"
)

// A build with this tag is newer than the others: it has two commands that they can't
// read, and that they may skip the second of.

const (
	kindFuture = KindRestore + 1 + iota
	kindHint
)

type future struct {
	What string `json:"what"`
}

type hint struct {
	What string `json:"what"`
}

func (future) Kind() Kind           { return kindFuture }
func (hint) Kind() Kind             { return kindHint }
func (future) apply(d *draft) error { return nil }
func (hint) apply(d *draft) error   { return nil }

func init() {
	register[future]("future", false)
	register[hint]("hint", true)
}

// TestNewerHub is a hub of this build, which does what its standard input says.
func TestNewerHub(t *testing.T) {
	var o hubOptions
	if err := json.Unmarshal([]byte(os.Getenv(newerHubVariable)), &o); err != nil {
		t.Skip("it is started by TestTwoBuilds")
	}
	h := startGRPCHub(t, o.options())
	out := json.NewEncoder(os.NewFile(3, "answers"))
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var c Command
		switch lines.Text() {
		case "future":
			c = future{"flying cars"}
		case "hint":
			c = hint{"it may rain"}
		case "stop":
			h.stop(t)
		}
		if err := out.Encode(h.do(t, c)); err != nil {
			t.Fatal(err)
		}
	}
}
