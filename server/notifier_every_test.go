package server_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/unisondb/unisondb/server"
	"github.com/unisondb/unisondb/server/config"
	"github.com/unisondb/unisondb/server/pluginhost"
	"github.com/unisondb/unisondb/server/servertest"
)

// TestNotifierOnEveryNode: a notifier with run_on = "every" on a relayer, of writes on
// the hub. It goes on from its own cursor over a restart of the relayer, during which the hub
// begins another epoch, and misses and repeats nothing.
func TestNotifierOnEveryNode(t *testing.T) {
	file := filepath.Join(t.TempDir(), "events")
	hub := servertest.Hub(t, "hub", "default")
	cfg := servertest.Config(t, "edge")
	cfg.Relayer = &config.Relayer{Upstreams: []config.Upstream{{Name: "up", Addresses: []string{hub.Addresses().GRPC}, Namespaces: []string{"default"}}}}
	cfg.PluginDir = pluginDir(t, "notifier-recorder")
	cfg.Notifiers = []config.Notifier{notifierBlock("recorder", "edge/mine", "every", map[string]any{"file": file}, "default")}
	relayer := servertest.Run(t, server.RoleRelayer, cfg)

	var want []string
	put := func(from, to int) {
		for i := from; i < to; i++ {
			key := fmt.Sprintf("k%d", i)
			hub.Put("default", key, "v")
			want = append(want, "put "+key)
		}
	}
	told := func() (events []string) {
		for _, e := range recorded(t, file) {
			events = append(events, e[:strings.LastIndexByte(e, ' ')])
		}
		return events
	}
	put(0, 20)
	waitPlugin(t, relayer, "edge/mine", pluginhost.StateReady)
	servertest.WaitFor(t, "the first changes are told", func() bool { return len(told()) >= len(want) })

	relayer.Stop()
	cursor := filepath.Join(cfg.DataDir, "notifiers", "edge%2Fmine", "default.json")
	if _, err := os.Stat(cursor); err != nil {
		t.Errorf("the cursor: %v", err)
	}
	hub.Restart()
	put(20, 40)
	relayer.Start()
	put(40, 60)
	servertest.WaitFor(t, "all changes are told", func() bool { return len(told()) >= len(want) })
	if got := told(); !slices.Equal(got, want) {
		t.Errorf("told\n%q, want\n%q", got, want)
	}
	p := waitPlugin(t, relayer, "edge/mine", pluginhost.StateReady)
	if s := p.Namespaces[0]; s.CursorsLost != 0 || s.DeadLetters != 0 || !strings.HasPrefix(s.Cursor, status(t, hub, "default").Lineage+":") {
		t.Errorf("status %+v", s)
	}
}
