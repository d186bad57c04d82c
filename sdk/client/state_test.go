package client_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/unisondb/unisondb/sdk/client"
)

func TestStaleness(t *testing.T) {
	for _, tt := range []struct {
		header string
		index  uint64
		age    time.Duration // -1: not known
		fails  bool
	}{
		{header: "index=7; age=12ms", index: 7, age: 12 * time.Millisecond},
		{header: "index=7;age=0s", index: 7},
		{header: "index=9; age=unknown", index: 9, age: -1},
		{header: "index=9; age=1h2m; more=true", index: 9, age: time.Hour + 2*time.Minute},
		{header: "", age: -1},
		{header: "index=x; age=1s", fails: true},
		{header: "index=1; age=soon", fails: true},
	} {
		node := newFakeNode(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Unisondb-Stale", tt.header)
			jsonAnswer(http.StatusOK, `[]`)(w, r)
		})
		var s client.Staleness
		_, err := node.client(t).Relayers(t.Context(), client.Stale(&s))
		if (err != nil) != tt.fails {
			t.Errorf("%q: %v", tt.header, err)
		}
		if tt.fails {
			continue
		}
		if s.Index != tt.index || (s.Age == nil) != (tt.age < 0) || s.Age != nil && *s.Age != tt.age {
			t.Errorf("%q: got %+v", tt.header, s)
		}
	}
}

// TestSnapshotThatIsCut: half a snapshot isn't taken for a whole one.
func TestSnapshotThatIsCut(t *testing.T) {
	node := newFakeNode(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		panic(http.ErrAbortHandler)
	})
	n, err := node.client(t).SaveSnapshot(t.Context(), io.Discard)
	if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "read the node's answer") {
		t.Errorf("%d bytes, %v, want that it ended early", n, err)
	}
}
