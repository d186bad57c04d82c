package client_test

import (
	"net/http"
	"testing"

	"github.com/unisondb/unisondb/sdk/client"
)

// at answers success at a position.
func at(position string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Unisondb-Position", position)
		_, _ = w.Write([]byte("{}"))
	}
}

func TestSessionCarriesThePosition(t *testing.T) {
	node := newFakeNode(t,
		at(lineage+":1:5"), // put
		at(lineage+":1:8"), // get sees more
		at(lineage+":1:6"), // another get of a node that is behind
		func(w http.ResponseWriter, _ *http.Request) { // a missing key has a position, too
			w.Header().Set("X-Unisondb-Position", lineage+":1:9")
			jsonAnswer(http.StatusNotFound, `{"error":"no","code":"KEY_NOT_FOUND"}`)(w, nil)
		},
		at(lineage+":2:10"))
	session := client.NewSession()
	c := node.client(t).WithSession(session)
	ctx, key := t.Context(), []byte("k")
	calls := []struct {
		want string // of X-Unisondb-At-Least
		call func() error
	}{
		{"", func() error { _, err := c.KV().Put(ctx, key, nil); return err }},
		{lineage + ":1:5", func() error { _, err := c.KV().Get(ctx, key); return err }},
		{lineage + ":1:8", func() error { _, err := c.KV().Get(ctx, key); return err }},
		{lineage + ":1:8", func() error { _, _ = c.KV().Get(ctx, key); return nil }},
		{lineage + ":1:9", func() error { _, err := c.KV().ListPage(ctx, client.ListOptions{}, ""); return err }},
		{"", func() error { _, err := c.In("other").KV().Get(ctx, key); return err }},
		{lineage + ":1:1", func() error {
			_, err := c.KV().Get(ctx, key, client.AtLeast(mustPosition(t, lineage+":1:1")))
			return err
		}},
		{lineage + ":2:10", func() error { _, err := c.Txn(ctx, client.Txn{Then: []client.Op{client.OpGet(key)}}); return err }},
		{lineage + ":2:10", func() error { _, err := c.Txn(ctx, client.Txn{Else: []client.Op{client.OpGetRow(key)}}); return err }},
		{lineage + ":2:10", func() error {
			_, err := c.Txn(ctx, client.Txn{If: []client.Condition{client.KeyExists(key, true)}})
			return err
		}},
		{lineage + ":1:1", func() error {
			_, err := c.Txn(ctx, client.Txn{Then: []client.Op{client.OpGet(key)}, AtLeast: mustPosition(t, lineage+":1:1")})
			return err
		}},
		{"", func() error { _, err := c.Txn(ctx, client.Txn{Then: []client.Op{client.OpPut(key, nil)}}); return err }},
		{"", func() error { _, err := c.WithSession(nil).KV().Get(ctx, key); return err }},
		{"", func() error { _, err := c.KV().Delete(ctx, key); return err }}, // writes go to the owner
	}
	for i, tt := range calls {
		if err := tt.call(); err != nil {
			t.Fatalf("call %d: %v", i+1, err)
		}
		if got := node.last(t).header.Get("X-Unisondb-At-Least"); got != tt.want {
			t.Errorf("call %d asked for at least %q, want %q", i+1, got, tt.want)
		}
	}
	if got, want := session.Position("default").String(), lineage+":2:10"; got != want {
		t.Errorf("the session stands at %s, want %s", got, want)
	}
}

func TestSessionKeepsAPositionThatWasCutOff(t *testing.T) {
	const other = "ffffffffffffffffffffffffffffffff"
	s := client.NewSession()
	observe := func(p string) { s.Observe("ns", mustPosition(t, p)) }
	observe(lineage + ":2:10")
	observe(lineage + ":3:9") // a later epoch that begins before what was seen
	observe(other + ":9:99")  // another history
	observe(lineage + ":1:12")
	if got, want := s.Position("ns").String(), lineage+":2:10"; got != want {
		t.Fatalf("stands at %s, want %s: only a read can tell that it was lost", got, want)
	}
	s.Forget("ns")
	s.Observe("ns", client.Position{})
	if !s.Position("ns").IsZero() {
		t.Error("still stands somewhere")
	}
	observe(other + ":9:99")
	if got, want := s.Position("ns").String(), other+":9:99"; got != want {
		t.Errorf("stands at %s, want %s", got, want)
	}
}

func TestPositionText(t *testing.T) {
	p := mustPosition(t, position7)
	if want := (client.Position{Lineage: lineage, Epoch: 1048577, LSN: 7}); p != want {
		t.Errorf("got %+v, want %+v", p, want)
	}
	text, err := p.MarshalText()
	var back client.Position
	if err != nil || back.UnmarshalText(text) != nil || back != p {
		t.Errorf("%q came back as %v", text, back)
	}
	if err := back.UnmarshalText(nil); err != nil || !back.IsZero() || back.String() != "" {
		t.Errorf("no position came back as %v, %v", back, err)
	}
	for _, bad := range []string{":", "x", lineage, lineage + ":1", lineage + ":1:x", lineage + ":-1:1", "zz:1:1", lineage + ":1:2:3"} {
		if _, err := client.ParsePosition(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func FuzzParsePosition(f *testing.F) {
	f.Add(position7)
	f.Fuzz(func(t *testing.T, s string) {
		p, err := client.ParsePosition(s)
		if err != nil {
			return
		}
		if again, err := client.ParsePosition(p.String()); err != nil || again != p {
			t.Errorf("%q became %q", s, p)
		}
	})
}
