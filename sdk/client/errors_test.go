package client_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/unisondb/unisondb/sdk/client"
)

var sentinels = map[string]error{
	"invalid": client.ErrInvalid, "unauthorized": client.ErrUnauthorized, "forbidden": client.ErrForbidden,
	"read-only": client.ErrReadOnly, "not-found": client.ErrNotFound, "namespace": client.ErrNamespaceNotFound,
	"tx": client.ErrTxNotFound, "conflict": client.ErrConflict, "lost": client.ErrPositionLost,
	"condition": client.ErrConditionFailed, "gone": client.ErrGone, "large": client.ErrTooLarge, "quota": client.ErrQuota,
	"unavailable": client.ErrUnavailable, "no-owner": client.ErrNoOwner, "unknown": client.ErrOutcomeUnknown,
	"no-leader": client.ErrNoLeader, "unknown-hub": client.ErrUnknownHub, "unknown-relayer": client.ErrUnknownRelayer,
	"behind": client.ErrNotCaughtUp, "acks": client.ErrNotReplicated, "unreachable": client.ErrUnreachable,
}

func TestErrorKinds(t *testing.T) {
	tests := []struct {
		status int
		code   string
		want   string // names of sentinels, and no others
	}{
		{400, "INVALID_KEY", "invalid"},
		{401, "UNAUTHORIZED", "unauthorized"},
		{403, "FORBIDDEN", "forbidden"},
		{403, "READ_ONLY", "forbidden read-only"},
		{404, "KEY_NOT_FOUND", "not-found"},
		{404, "OBJECT_NOT_FOUND", "not-found"},
		{404, "NAMESPACE_NOT_FOUND", "namespace"},
		{404, "TX_NOT_FOUND", "tx"},
		{404, "ROUTE_NOT_FOUND", ""},
		{404, "", ""},
		{409, "TX_CONFLICT", "conflict"},
		{409, "POSITION_LOST", "lost"},
		{409, "NOT_REPLACEABLE", ""},
		{409, "NAMESPACE_OWNED", ""},
		{409, "NAMESPACE_EXISTS", ""},
		{409, "UPSTREAM_CYCLE", ""},
		{409, "LAST_VOTER", ""},
		{409, "NODE_ID_TAKEN", ""},
		{409, "OTHER_CLUSTER", ""},
		{409, "NOT_A_HUB", ""},
		{409, "RELAYER_CONNECTED", ""},
		{404, "UNKNOWN_HUB", "unknown-hub"},
		{404, "UNKNOWN_RELAYER", "unknown-relayer"},
		{503, "NO_LEADER", "no-leader unavailable"},
		{404, "MARK_NOT_FOUND", ""},
		{500, "DAMAGED", ""},
		{410, "TX_EXPIRED", "gone"},
		{412, "CONDITION_FAILED", "condition"},
		{413, "TOO_LARGE", "large"},
		{416, "RANGE_NOT_SATISFIABLE", "invalid"},
		{429, "QUOTA_EXCEEDED", "quota"},
		{503, "NO_OWNER", "no-owner unavailable"},
		{503, "SHUTTING_DOWN", "unavailable"},
		{503, "OUTCOME_UNKNOWN", "unknown"},
		{504, "NOT_CAUGHT_UP", "behind"},
		{504, "NOT_REPLICATED", "acks"},
		{500, "INTERNAL", ""},
	}
	for _, tt := range tests {
		t.Run(tt.code, func(t *testing.T) {
			err := error(&client.Error{Status: tt.status, Code: tt.code, Message: "m"})
			for name, sentinel := range sentinels {
				want := slices.Contains(strings.Fields(tt.want), name)
				if got := errors.Is(err, sentinel); got != want {
					t.Errorf("is %q: %v, want %v", name, got, want)
				}
			}
		})
	}
}

func TestErrorAnswer(t *testing.T) {
	node := newFakeNode(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3")
		w.Header().Set("X-Unisondb-Owner", "hub-1")
		jsonAnswer(http.StatusForbidden, `{"error":"this node only follows: write to hub-1","code":"READ_ONLY"}`)(w, nil)
	})
	_, err := node.client(t).KV().Put(t.Context(), []byte("k"), nil)
	var e *client.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %T: %v", err, err)
	}
	if e.Status != 403 || e.Code != "READ_ONLY" || e.RetryAfter != 3*time.Second || e.Owner != "hub-1" {
		t.Errorf("got %+v", e)
	}
	if got, want := err.Error(), "this node only follows: write to hub-1 (READ_ONLY)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRetryAfterAsDate(t *testing.T) {
	node := newFakeNode(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
		jsonAnswer(http.StatusTooManyRequests, `{"error":"slow down","code":"QUOTA_EXCEEDED"}`)(w, nil)
	})
	_, err := node.client(t).KV().Put(t.Context(), []byte("k"), nil)
	var e *client.Error
	if !errors.As(err, &e) || e.RetryAfter < 50*time.Minute || e.RetryAfter > time.Hour {
		t.Errorf("got %+v", e)
	}
}

func TestAnswerOfSomethingElse(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"page":     func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>hello</html>") },
		"failure":  func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "bad gateway", http.StatusBadGateway) },
		"redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusFound) },
	} {
		t.Run(name, func(t *testing.T) {
			node := newFakeNode(t, answer)
			_, err := node.client(t).Health(t.Context())
			if err == nil || !strings.Contains(err.Error(), "is this the HTTP address of a UnisonDB node?") {
				t.Errorf("got %v", err)
			}
			if n := len(node.seen()); n != 1 {
				t.Errorf("%d requests, want one: redirects are not followed", n)
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil { // nobody listens there
		t.Fatal(err)
	}
	c, err := client.New(client.Config{Address: address})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.KV().Put(t.Context(), []byte("secret"), nil)
	if !errors.Is(err, client.ErrUnreachable) {
		t.Errorf("got %v, want ErrUnreachable", err)
	}
	if err != nil && strings.Contains(err.Error(), "secret") {
		t.Errorf("the error shows the key: %v", err)
	}
}

func TestBrokenAnswerIsNotUnreachable(t *testing.T) {
	node := newFakeNode(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	_, err := node.client(t).KV().Put(t.Context(), []byte("k"), nil)
	if !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, client.ErrUnreachable) {
		t.Errorf("got %v: the request may have been carried out", err)
	}
	if n := len(node.seen()); n != 1 {
		t.Errorf("a write was sent %d times", n)
	}
}

func TestContextEndsACall(t *testing.T) {
	entered := make(chan struct{})
	node := newFakeNode(t, func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-entered
		cancel()
	}()
	if _, err := node.client(t).KV().Get(ctx, []byte("k")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}
