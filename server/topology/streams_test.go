package topology

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/unisondb/unisondb/server/acl"
	"github.com/unisondb/unisondb/server/certs"
	"github.com/unisondb/unisondb/server/certs/certstest"
	"github.com/unisondb/unisondb/server/config"
)

// book is a log that a test reads.
type book struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *book) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *book) has(part string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.b.String(), part)
}

func (l *book) logger() hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Output: l, Level: hclog.Debug})
}

// storeOf opens a tls block.
func storeOf(t *testing.T, block config.TLS, log hclog.Logger) *certs.Store {
	t.Helper()
	s, err := certs.Listening("tls of the raft block", block, certs.Options{Logger: log, Interval: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// end is one hub's streams; what it accepts it answers with "hello".
func end(t *testing.T, id string, store *certs.Store, log hclog.Logger) *streams {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := newStreams(l, l.Addr().String(), serverID(id, "1"), store, log)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := s.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "hello")
			_ = c.Close()
		}
	})
	t.Cleanup(func() {
		_ = s.Close()
		wg.Wait()
	})
	return s
}

// dial makes a connection, and reads what the other end says.
func dial(from, to *streams, as raft.ServerID) error {
	c, err := from.Dial(target(as, raft.ServerAddress(to.Addr().String())), patience)
	if err != nil {
		return err
	}
	b, err := io.ReadAll(c)
	if err = errors.Join(err, c.Close()); err == nil && string(b) != "hello" {
		err = fmt.Errorf("the other end says %q", b)
	}
	return err
}

// TestStreams: hubs reach the members that they mean, and nobody else reaches a hub.
func TestStreams(t *testing.T) {
	ca, strangers := certstest.NewCA(t, "our CA"), certstest.NewCA(t, "their CA")
	files := func(ca *certstest.CA, p *certs.Pair) config.TLS {
		f := certstest.NewFiles(t)
		f.Put(p)
		f.Trust(ca)
		return f.TLS
	}
	elsewhere := ca.Issue(certs.Request{Identity: acl.Identity{Kind: acl.Hub, Name: "a"}, DNSNames: []string{"elsewhere.example"}})
	mixed := func(p *certs.Pair) config.TLS { // trusts us, and comes from them
		f := certstest.NewFiles(t)
		f.Put(p)
		f.Trust(ca)
		return f.TLS
	}
	for _, tt := range []struct {
		name   string
		a, b   *config.TLS // of who is dialled, and who dials
		as     raft.ServerID
		refuse string // part of the error
		log    string // part of the dialled one's log
	}{
		{"TLS", ptr(files(ca, ca.Node(acl.Hub, "a"))), ptr(files(ca, ca.Node(acl.Hub, "b"))), "a/1", "", ""},
		{"plain text", nil, nil, "a/1", "", ""},
		{"another hub", nil, nil, "c/1", `this is hub "a"`, ""},
		{"a wiped hub", nil, nil, "a/0", "instance 0", ""},
		{"wrong CA", ptr(files(ca, ca.Node(acl.Hub, "a"))), ptr(mixed(strangers.Node(acl.Hub, "b"))), "a/1",
			"whose authority it doesn't know", "comes from an authority that ca_file"},
		{"no trust", ptr(files(ca, ca.Node(acl.Hub, "a"))), ptr(files(strangers, ca.Node(acl.Hub, "b"))), "a/1",
			"comes from an authority that ca_file", "it refuses this node's certificate"},
		{"a relayer", ptr(files(ca, ca.Node(acl.Hub, "a"))), ptr(files(ca, ca.Node(acl.Relayer, "b"))), "a/1",
			"only hubs may do this", `that of relayer`},
		{"another hub's certificate", ptr(files(ca, ca.Node(acl.Hub, "a"))), ptr(files(ca, ca.Node(acl.Hub, "c"))), "a/1",
			`calls itself "b"`, `calls itself`},
		{"the dialled one's certificate is another's", ptr(files(ca, ca.Node(acl.Hub, "c"))), ptr(files(ca, ca.Node(acl.Hub, "b"))), "a/1",
			`calls itself "a"`, ""},
		{"another host's certificate", ptr(files(ca, elsewhere)), ptr(files(ca, ca.Node(acl.Hub, "b"))), "a/1",
			"elsewhere.example", ""},
		{"plain to TLS", ptr(files(ca, ca.Node(acl.Hub, "a"))), nil, "a/1", "", "speaks no TLS"},
		{"TLS to plain", nil, ptr(files(ca, ca.Node(acl.Hub, "b"))), "a/1", "speaks no TLS", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log := &book{}
			var a, b *certs.Store
			if tt.a != nil {
				a = storeOf(t, *tt.a, log.logger())
			}
			if tt.b != nil {
				b = storeOf(t, *tt.b, hclog.NewNullLogger())
			}
			to, from := end(t, "a", a, log.logger()), end(t, "b", b, hclog.NewNullLogger())
			err := dial(from, to, tt.as)
			fails := tt.refuse != "" || tt.log != ""
			if (err != nil) != fails || err != nil && !strings.Contains(err.Error(), tt.refuse) {
				t.Errorf("%v, want %q", err, tt.refuse)
			}
			if tt.log != "" {
				await(t, fmt.Sprintf("the log says %q", tt.log), func() bool { return log.has(tt.log) })
			}
		})
	}
}

func ptr[T any](v T) *T { return &v }

// TestStreamsOthers: who opens a connection and says nothing, or something else, is in nobody's way.
func TestStreamsOthers(t *testing.T) {
	to, from := end(t, "a", nil, hclog.NewNullLogger()), end(t, "b", nil, hclog.NewNullLogger())
	silent, err := net.Dial("tcp", to.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close() //nolint:errcheck // nothing was said
	for _, text := range []string{"GET / HTTP/1.1\r\n\r\n", "udbraft1\xff\xff\xff\xff", "udbraft1\x00\x00\x00\x02{]"} {
		c, err := net.Dial("tcp", to.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, text); err != nil {
			t.Error(err)
		}
		_, _ = io.ReadAll(c) // until it is closed
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := dial(from, to, "a/1"); err != nil {
		t.Error(err)
	}
	if _, err := from.Dial("127.0.0.1:1", time.Second); err == nil {
		t.Error("it dials nobody in particular")
	}
}

// TestTLSGroup: three hubs with certificates; those are replaced while the hubs run, and connections made later
// use the new ones.
func TestTLSGroup(t *testing.T) {
	t.Parallel()
	ca := certstest.NewCA(t, "our CA")
	f := newTCPHubs(t)
	all := map[string]certstest.Files{}
	stores := map[string]*certs.Store{}
	f.group(3, func(o *Options) {
		all[o.NodeID] = ca.Files(acl.Hub, o.NodeID)
		o.Certs = storeOf(t, all[o.NodeID].TLS, hclog.NewNullLogger())
		stores[o.NodeID] = o.Certs
	})
	if _, err := f.other().Propose(within(t), someNamespace("a")); err != nil {
		t.Fatal(err)
	}
	next := certstest.NewCA(t, "our next CA")
	for _, files := range all {
		files.Trust(ca, next)
	}
	for id, files := range all {
		before := stores[id].Status().Fingerprint
		files.Put(next.Node(acl.Hub, id))
		await(t, "the new certificate is in use", func() bool { return stores[id].Status().Fingerprint != before })
	}
	for _, files := range all {
		files.Trust(next)
	}
	for _, s := range stores {
		await(t, "the new authority is in use", func() bool { return s.Reload() == nil })
	}
	h := f.other()
	h.kill()
	if _, err := f.awaitLeader().Propose(within(t), someNamespace("b")); err != nil {
		t.Fatal(err)
	}
	h.start()
	await(t, "it is in the group again", func() bool { return h.State().Namespaces["b"] != nil && h.settled() })
}
