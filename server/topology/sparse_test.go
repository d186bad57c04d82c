package topology

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
)

// TestSparse: what Raft says again and again is in the log once a minute, with how often it was so.
func TestSparse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b book
		l := newSparse(hclog.New(&hclog.LoggerOptions{Output: &b, Level: hclog.Info})).Named("raft").With("k", "v")
		for range 100 {
			l.Error("failed to heartbeat to", "peer", "a", "backoff time", time.Now())
			l.Error("failed to heartbeat to", "peer", "b")
			l.Warn("failed to heartbeat to", "peer", "a")
			l.Info("entering follower state")
			time.Sleep(time.Second)
		}
		got := b.b.String()
		for part, n := range map[string]int{"[ERROR]": 4, "[WARN]": 2, "entering": 0, "times_since=59": 3, "peer=a": 4, "raft": 6, "k=v": 6} {
			if strings.Count(got, part) != n {
				t.Errorf("%q is there %d times instead of %d:\n%s", part, strings.Count(got, part), n, got)
			}
		}
		for i := range 2 * maxSayings {
			l.Error(strings.Repeat("x", i))
		}
		if s, ok := l.(sparse); !ok || len(s.said.all) > maxSayings {
			t.Error("too many lines are remembered")
		}
	})
}
