package topology

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var appendGolden = flag.Bool("append", false, "add kinds of commands that testdata/commands.golden hasn't got")

// samples has one command of each kind, all of whose fields are set.
func samples() []Command {
	labels := map[string]string{"region": "eu"}
	settings := Settings{Acks: "local", MaxBytes: 1, WriteBytesPerSecond: 2, Replicate: &Replicate{Relayers: []string{"edge-*"}, Selector: labels, Hubs: []string{"b"}}}
	relayer := Relayer{
		ID: "edge-1", Instance: "i", Labels: labels, Region: "eu", Advertise: "e:1", Upstream: "edge-2", Draining: true, Kept: []string{"orders"},
		Credential: sum64, Token: "t0", Granted: labels,
	}
	return []Command{
		SetHub{Hub{ID: "a", Instance: "i", Raft: "a:1", GRPC: "a:2", Version: "1.2.3", Region: "eu", Voter: true, ReadsUpTo: 20}},
		RemoveHub{"a", "i"},
		CreateNamespace{"orders", lin(1), hubNode("a"), settings, day, true, time.Hour},
		EnsureNamespace{"orders", lin(1), relayerNode("edge-1"), settings, day},
		SetNamespace{"orders", settings, &settings},
		DeleteNamespace{"orders", day, time.Hour},
		PurgeNamespace{lin(1)},
		SetVia{"orders", "a"},
		SetRelayer{relayer, "t1", day},
		RemoveRelayer{"edge-1", true},
		DrainRelayer{"edge-1", true},
		SetUpstream{"edge-1", "edge-2"},
		Assign{Assignment{"orders", "edge-1", labels}},
		Unassign{Assignment{"orders", "edge-1", labels}},
		RegisterPlugin{Plugin{"hook", "notifier", "webhook", []string{"orders"}, "owner", sum64, "1.0", map[string]any{"url": "u"}, map[string]any{"filter": "f"}}},
		DeregisterPlugin{"hook"},
		CreateToken{Token{"t1", sum64, day, 3, "edge-*", labels}, day},
		RevokeToken{"t1"},
		Begin{lin(2)},
		Restore{[]byte("snapshot"), true},
	}
}

// TestCommandEncodings holds the encodings against those that groups have on their disks. The file is added to and
// never changed: a command that needs another field gets another number.
func TestCommandEncodings(t *testing.T) {
	const file = "testdata/commands.golden"
	golden := map[Kind]string{}
	f, err := os.ReadFile(file)
	if err != nil && !*appendGolden {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(bytes.NewReader(f)); lines.Scan(); {
		var k Kind
		if _, err := fmt.Sscan(lines.Text(), &k); err != nil || golden[k] != "" {
			t.Fatalf("a number that isn't one, or stands there twice: %s", lines.Text())
		}
		golden[k] = lines.Text()
	}
	for _, c := range samples() {
		setCompletely(t, reflect.ValueOf(c), c.Kind().String())
		b, err := Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		at := bytes.IndexByte(b, '{')
		line := fmt.Sprintf("%d %v %x %s", c.Kind(), c.Kind(), b[:at], b[at:])
		if golden[c.Kind()] == "" && *appendGolden {
			f = append(f, line+"\n"...)
			golden[c.Kind()] = line
		}
		if d := cmp.Diff(golden[c.Kind()], line); d != "" {
			t.Errorf("%T is written in another way; groups that have it in their logs can't read it: %s", c, d)
		}
		parts := strings.SplitN(golden[c.Kind()], " ", 4)
		prefix, err := hex.DecodeString(parts[2])
		if err != nil {
			t.Fatal(err)
		}
		back, _, err := decode(append(prefix, parts[3]...))
		if d := cmp.Diff(c, back); err != nil || d != "" {
			t.Errorf("%T comes back as something else: %v %s", c, err, d)
		}
		delete(golden, c.Kind())
	}
	if len(golden) > 0 {
		t.Errorf("these kinds aren't read any more: %v", golden)
	}
	if *appendGolden {
		if err := os.WriteFile(file, f, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if kinds := slices.Sorted(maps.Keys(forms)); len(samples()) != len(kinds) || kinds[len(kinds)-1] != Newest() {
		t.Errorf("samples of %d kinds, and there are %v", len(samples()), kinds)
	}
}

// setCompletely requires that no field of a sample is left out: the golden file has them all then.
func setCompletely(t *testing.T, v reflect.Value, name string) {
	t.Helper()
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if v.IsZero() {
		t.Errorf("the sample of %s is empty", name)
	}
	if v.Kind() == reflect.Struct && v.Type() != reflect.TypeFor[time.Time]() {
		for i := range v.NumField() {
			setCompletely(t, v.Field(i), name+"."+v.Type().Field(i).Name)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	encoded := func(kind uint64, flags byte, body string) []byte {
		return append(append(binary.AppendUvarint(nil, kind), flags), body...)
	}
	for name, c := range map[string]struct {
		b         []byte
		ignorable bool
		says      string // empty: skipped
	}{
		"nothing":                {nil, false, "no command"},
		"no flags":               {[]byte{1}, false, "no command"},
		"kind 0":                 {encoded(0, 1, "{}"), false, "no command"},
		"a kind beyond all":      {encoded(1<<40, 1, "{}"), false, "no command"},
		"a number without end":   {bytes.Repeat([]byte{0xff}, 20), false, "no command"},
		"unknown":                {encoded(999, 0, "{}"), false, "command 999 of the control plane is of a newer version"},
		"unknown and ignorable":  {encoded(999, 1, "anything"), true, ""},
		"unknown flags":          {encoded(1, 2, "{}"), false, "flags of a newer version"},
		"a field of a newer one": {encoded(uint64(KindAssign), 0, `{"assignment":{"namespace":"n","shard":1}}`), false, "shard"},
		"no JSON":                {encoded(uint64(KindAssign), 0, `{"assignment":`), false, "can't be read"},
		"two objects":            {encoded(uint64(KindAssign), 0, `{} {}`), false, "more than one"},
		"another type":           {encoded(uint64(KindAssign), 0, `{"assignment":7}`), false, "can't be read"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd, ignorable, err := decode(c.b)
			if cmd != nil || ignorable != c.ignorable || (c.says == "") != (err == nil) {
				t.Fatalf("%v, %v, %v", cmd, ignorable, err)
			}
			if err != nil && (CodeOf(err) != CodeUnreadableCommand || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("%s: %v", CodeOf(err), err)
			}
			s := world(t)
			next, refused, unreadable := s.applyEntry(s.Index+1, c.b)
			if refused != nil || (unreadable != nil) != (err != nil) {
				t.Errorf("applied: %v, %v", refused, unreadable)
			}
			if unreadable != nil && next != s {
				t.Error("the state has changed")
			}
			if unreadable == nil && (next.Index != s.Index+1 || next.Chain == s.Chain || next.MinReader != s.MinReader) {
				t.Errorf("skipped: index %d after %d", next.Index, s.Index)
			}
		})
	}
}

// TestEncodeRefuses what is too large for the log.
func TestEncodeRefuses(t *testing.T) {
	if _, err := Encode(RegisterPlugin{Plugin{Name: strings.Repeat("x", maxCommand)}}); CodeOf(err) != CodeTooLarge {
		t.Error(err)
	}
	if _, err := Encode(Restore{Snapshot: make([]byte, maxCommand)}); err != nil {
		t.Errorf("a snapshot to restore: %v", err)
	}
	if _, err := Encode(RegisterPlugin{Plugin{Config: map[string]any{"f": func() {}}}}); err == nil {
		t.Error("a function is taken")
	}
}

// TestKindOf: the kind of what can't be read is known.
func TestKindOf(t *testing.T) {
	if k, ignorable, err := kindOf([]byte{200, 1, 1}); k != 200 || !ignorable || err != nil {
		t.Errorf("%v, %v, %v", k, ignorable, err)
	}
	if k := Kind(999); k.String() != "command 999" || KindAssign.String() != "Assign" {
		t.Error(k, KindAssign)
	}
}

func FuzzDecodeCommand(f *testing.F) {
	for _, c := range samples() {
		b, err := Encode(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{200, 1, 1})
	f.Add([]byte{byte(KindCreateNamespace), 0, 'n', 'u', 'l', 'l'})
	s := world(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		c, ignorable, err := decode(b)
		if err != nil && (c != nil || CodeOf(err) != CodeUnreadableCommand) || err == nil && c == nil && !ignorable {
			t.Fatalf("%v, %v, %v", c, ignorable, err)
		}
		if c == nil {
			return
		}
		before := sumOf(t, s)
		next, err := s.apply(s.Index+1, c)
		if err != nil && CodeOf(err) == "" || next.Index != s.Index+1 || before != sumOf(t, s) {
			t.Fatalf("applied: %v", err)
		}
		if restore, ok := c.(Restore); ok && err == nil {
			_ = restore // what it holds was checked by its checksum alone
			return
		}
		checkInvariants(t, next)
		if _, err := json.Marshal(c); err != nil {
			t.Fatal(err)
		}
		if d := sameState(next, throughSnapshot(t, next)); d != "" {
			t.Fatalf("what was applied doesn't come back from a snapshot: %s", d)
		}
	})
}
