package pluginhost_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/unisondb/unisondb/server"
	"github.com/unisondb/unisondb/server/config"
	"github.com/unisondb/unisondb/server/pluginhost"
	"github.com/unisondb/unisondb/server/servertest"
)

// brokenPlugin is a plugin that doesn't work, with what a node says of it.
type brokenPlugin struct {
	notifier config.Notifier
	state    pluginhost.State
	words    []string // in the reason, or in the last error of its delivery
}

// brokenPlugins is a folder with a plugin of each kind of breakage, and their blocks.
// Those that hang are not waited for until they are killed: that takes minutes, and is tested with
// less patience in internal/process.
func brokenPlugins(t *testing.T, dir string) []brokenPlugin {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"lines", "exits", "hangs", "sleeps", "floods", "hoards"} {
		if err := os.Link(self, filepath.Join(dir, "notifier-"+name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "notifier-plain"), []byte("#!/bin/sh\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "notifier-foreign"), foreignProgram(), 0o755); err != nil {
		t.Fatal(err)
	}
	block := func(kind, name string) config.Notifier {
		return config.Notifier{
			Type: kind, Name: name, Namespaces: []string{"default"}, RunOn: "every", StartFrom: "oldest",
			Config: map[string]any{},
		}
	}
	pinned, old, hoarder := block("lines", "wrong-sha256"), block("lines", "wrong-version"), block("hoards", "allocates")
	for _, b := range []config.Notifier{pinned, old} {
		b.Config["address"] = "x"
	}
	pinned.Program.SHA256 = strings.Repeat("ab", 32)
	old.Program.Version = "9.9.9"
	hoarder.Program.MemoryLimit = 256 << 20
	return []brokenPlugin{
		{pinned, pluginhost.StateDegraded, []string{"its sha256 is ", "expected " + pinned.Program.SHA256, "put the right file there"}},
		{old, pluginhost.StateDegraded, []string{`is version "1.0.0"`, `pins "9.9.9"`, "put that version there"}},
		{block("plain", "not-executable"), pluginhost.StateDegraded, []string{"is not executable", "chmod +x"}},
		{block("foreign", "wrong-architecture"), pluginhost.StateDegraded, []string{"it is built for s390x", runtime.GOARCH, "put a program for this machine there"}},
		{block("exits", "exits-at-once"), pluginhost.StateDegraded, []string{"exited with status 7", "cannot read /etc/exits.conf"}},
		{block("hangs", "hangs-in-configure"), pluginhost.StateStarting, []string{"hasn't taken its configuration yet (Configure)"}},
		{block("sleeps", "hangs-in-notify"), pluginhost.StateReady, []string{"the plugin hasn't answered to a batch"}},
		{block("floods", "floods-the-log"), pluginhost.StateReady, nil},
		{hoarder, pluginhost.StateDegraded, []string{"more than its memory_limit of 256MiB", "killed"}},
	}
}

// foreignProgram is the head of a program for a machine that no test runs on.
func foreignProgram() []byte {
	head := make([]byte, 120)
	copy(head, "\x7fELF\x02\x02\x01")
	binary.BigEndian.PutUint16(head[16:], 2)
	binary.BigEndian.PutUint16(head[18:], 22)
	binary.BigEndian.PutUint32(head[20:], 1)
	return head
}

// TestNoBrokenPluginHurtsANode: a hub and a relayer with a broken plugin of each kind
// start, serve, replicate and deliver to the plugin that works, and say what is wrong.
func TestNoBrokenPluginHurtsANode(t *testing.T) {
	t.Parallel()
	dir, r := t.TempDir(), receive(t, nil)
	broken := brokenPlugins(t, dir)
	var blocks []config.Notifier
	for _, b := range broken {
		blocks = append(blocks, b.notifier)
	}
	hub, relayer := hubAndRelayer(t, "", dir, r, blocks)
	const puts = 20
	var keys []string
	for i := range puts { // while plugins come and go
		keys = append(keys, fmt.Sprintf("k%d", i))
		hub.Put("default", keys[i], "v")
	}
	r.expect(keys...)
	last := hub.Put("default", "last", "v")
	if got, _ := relayer.Get("default", "last", last); got != "v" {
		t.Errorf("the relayer has %q", got)
	}
	for _, n := range []*servertest.Node{hub, relayer} {
		for _, b := range broken {
			if n == hub || !hungry(b.notifier) {
				b.await(t, n)
			}
		}
	}
	sound, _ := hubAndRelayer(t, "sound-", dir, receive(t, nil), nil)
	var with, without time.Duration
	for range 5 { // in turns, for other load hits both then
		with, without = with+timeOf(hub, keys), without+timeOf(sound, keys)
	}
	rate := func(d time.Duration) float64 { return 5 * puts / d.Seconds() }
	t.Logf("%.0f puts a second, one after the other, beside nine broken plugins; %.0f without any: ratio %.2f", rate(with), rate(without), rate(with)/rate(without))
}

// timeOf is how long puts take, one after the other.
func timeOf(n *servertest.Node, keys []string) time.Duration {
	began := time.Now()
	for _, key := range keys {
		n.Put("default", key, "v")
	}
	return time.Since(began)
}

// hungry says that a broken plugin takes all the processor that it gets: one of those is
// enough for a test that others run beside.
func hungry(c config.Notifier) bool { return c.Type == "floods" || c.Type == "hoards" }

// hubAndRelayer are a hub with these notifiers and one that works, and a relayer with
// these but the hungry ones.
func hubAndRelayer(t *testing.T, prefix, dir string, r *receiver, blocks []config.Notifier) (hub, relayer *servertest.Node) {
	t.Helper()
	cfg := servertest.Config(t, prefix+"hub", "default")
	cfg.PluginDir = dir
	cfg.Notifiers = append(slices.Clone(blocks), config.Notifier{
		Type: "lines", Name: "good", Namespaces: []string{"default"}, RunOn: "owner", StartFrom: "oldest",
		Config: map[string]any{"address": r.addr},
	})
	hub = servertest.Run(t, server.RoleHub, cfg)
	below := servertest.Config(t, prefix+"edge")
	below.PluginDir, below.Notifiers = dir, slices.DeleteFunc(slices.Clone(blocks), hungry)
	below.Relayer = &config.Relayer{Upstreams: []config.Upstream{{
		Name: "up", Addresses: []string{hub.Addresses().GRPC}, Namespaces: []string{"default"},
	}}}
	relayer = servertest.Run(t, server.RoleRelayer, below)
	hub.WaitReady()
	relayer.WaitReady()
	return hub, relayer
}

// await waits until a node says of the plugin what it should.
func (b brokenPlugin) await(t *testing.T, n *servertest.Node) {
	t.Helper()
	var s pluginhost.Status
	defer func() {
		if t.Failed() {
			t.Logf("on %s %s is %+v", n.Config.NodeID, b.notifier.Name, s)
		}
	}()
	servertest.WaitFor(t, fmt.Sprintf("%s says what is wrong with %s", n.Config.NodeID, b.notifier.Name), func() bool {
		answer := n.Do("GET", "/v1/plugins/"+b.notifier.Name, nil)
		s = pluginhost.Status{}
		if err := json.Unmarshal(answer.Body, &s); err != nil {
			t.Fatalf("%d %s: %v", answer.Status, answer.Body, err)
		}
		text := s.Reason
		for _, ns := range s.Namespaces {
			text += " " + ns.LastError
		}
		for _, w := range b.words {
			if !strings.Contains(text, w) {
				return false
			}
		}
		return s.State == b.state && (b.notifier.Type != "floods" || s.LogLinesDropped > 0)
	})
}
