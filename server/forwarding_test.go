package server_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/server"
	"github.com/unisondb/unisondb/server/acl"
	"github.com/unisondb/unisondb/server/certs/certstest"
	"github.com/unisondb/unisondb/server/httpapi"
	"github.com/unisondb/unisondb/server/servertest"
)

// threeHubs are a group, with TLS where there is a CA. Their requests wait for another hub as long
// as a test may take: how long a hub takes to come back is the machine's affair.
func threeHubs(t *testing.T, ca *certstest.CA) []*servertest.Node {
	t.Helper()
	var hubs []*servertest.Node
	for _, cfg := range servertest.GroupConfigs(t, 3) {
		hub := &servertest.Node{Role: server.RoleHub, Config: cfg, ForwardHold: servertest.Deadline}
		if ca == nil {
			hub = servertest.RunNode(t, hub)
		} else {
			hub.Files = ca.Files(acl.Hub, cfg.NodeID)
			hub = servertest.RunSecureNode(t, ca, hub)
		}
		hubs = append(hubs, hub)
	}
	servertest.WaitForGroup(t, hubs...)
	return hubs
}

// TestRollingRestart restarts all hubs of a group, one after the other, under load. Readers
// on the hubs that are up, and writers through the owner and through the others, see no error; what
// was written is there, on every hub, at the position that was answered.
func TestRollingRestart(t *testing.T) {
	l := newLoad(t, threeHubs(t, nil))
	l.restart(0, 1, 2)
	for round, more := 1, rounds(t); os.Getenv("DURATION") != "" && more(round); round++ {
		l.restart(0, 1, 2)
	}
	l.finish()
}

// TestRollingRestartWithTLS is the same for one hub, with doors that demand certificates.
func TestRollingRestartWithTLS(t *testing.T) {
	l := newLoad(t, threeHubs(t, certstest.NewCA(t, "ca")))
	l.restart(0)
	l.finish()
}

// load is what clients do while hubs are restarted.
type load struct {
	t     *testing.T
	hubs  []*servertest.Node
	owner map[string]int // which hub owns a namespace
	stop  chan struct{}
	wg    sync.WaitGroup
	// using[i] is held for reading by requests to hub i, and for writing while that is restarted: so a load
	// balancer keeps its clients away from a hub that isn't ready.
	using [3]sync.RWMutex

	writes, passedOn, reads   atomic.Int64
	longestWrite, longestRead atomic.Int64
	mu                        sync.Mutex
	written                   map[string][]entry // by namespace
}

// entry is a write that was acknowledged.
type entry struct{ key, value, position string }

// newLoad makes a namespace for each hub that all have, and one that its owner alone has, and starts clients: for each
// namespace a writer that prefers the owner and one that prefers the others, and for each hub a reader.
func newLoad(t *testing.T, hubs []*servertest.Node) *load {
	l := &load{t: t, hubs: hubs, stop: make(chan struct{}), owner: map[string]int{}, written: map[string][]entry{}}
	for i := range hubs {
		l.create(i, fmt.Sprintf("of-%d", i+1), `["*"]`)
	}
	l.create(0, "alone", "[]")
	names := slices.Sorted(maps.Keys(l.owner))
	for _, name := range names {
		owner := l.owner[name]
		l.client(func(n int) { l.write(name, fmt.Sprintf("direct-%d", n), owner) })
		l.client(func(n int) { l.write(name, fmt.Sprintf("passed-on-%d", n), (owner+1+n%2)%len(hubs)) })
	}
	for i := range hubs {
		l.client(func(n int) { l.read(i, names[n%len(names)]) })
	}
	return l
}

// create makes a namespace that a hub owns, and waits until every hub answers for it.
func (l *load) create(owner int, name, hubs string) {
	l.t.Helper()
	l.owner[name] = owner
	r := l.hubs[owner].Do(http.MethodPost, "/v1/namespaces", fmt.Appendf(nil, `{"name":%q,"hubs":%s}`, name, hubs))
	if r.Status != http.StatusOK {
		l.t.Fatalf("creating %s: %d %s", name, r.Status, r.Body)
	}
	position := l.hubs[owner].Put(name, "seed", "planted")
	for _, hub := range l.hubs {
		servertest.WaitFor(l.t, fmt.Sprintf("hub %s answers for namespace %s", hub.Config.NodeID, name), func() bool {
			r, err := hub.Try(http.MethodGet, "/api/v1/"+name+"/kv/seed?raw=true&wait=1s", nil, servertest.Header{Name: httpapi.HeaderAtLeast, Value: position})
			return err == nil && r.Status == http.StatusOK
		})
	}
}

// client does something again and again, at most a hundred times a second, until stop or the first error.
func (l *load) client(do func(n int)) {
	l.wg.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for n := 0; !l.t.Failed(); n++ {
			do(n)
			select {
			case <-tick.C:
			case <-l.stop:
				return
			}
		}
	})
}

// use runs a request on a hub, or on the next one that is up.
func (l *load) use(preferred int, request func(i int, hub *servertest.Node)) {
	for i := preferred; ; i = (i + 1) % len(l.hubs) {
		if l.using[i].TryRLock() {
			request(i, l.hubs[i])
			l.using[i].RUnlock()
			return
		}
	}
}

func (l *load) write(namespace, key string, preferred int) {
	l.use(preferred, func(i int, hub *servertest.Node) {
		began, value := time.Now(), fmt.Sprint(key, rand.Int64())
		r, err := hub.Try(http.MethodPut, "/api/v1/"+namespace+"/kv/"+key, []byte(value), servertest.Header{Name: "Content-Type", Value: "application/octet-stream"})
		if err != nil || r.Status != http.StatusOK {
			l.t.Errorf("a write to %s failed through hub %s, after %v: %v, %d %s", namespace, hub.Config.NodeID, time.Since(began), err, r.Status, r.Body)
			return
		}
		l.writes.Add(1)
		if i != l.owner[namespace] {
			l.passedOn.Add(1)
		}
		longer(&l.longestWrite, time.Since(began))
		l.mu.Lock()
		defer l.mu.Unlock()
		l.written[namespace] = append(l.written[namespace], entry{key, value, r.Header.Get(httpapi.HeaderPosition)})
	})
}

// read reads from one hub, if that is up.
func (l *load) read(i int, namespace string) {
	if !l.using[i].TryRLock() {
		return
	}
	defer l.using[i].RUnlock()
	began, hub := time.Now(), l.hubs[i]
	r, err := hub.Try(http.MethodGet, "/api/v1/"+namespace+"/kv/seed?raw=true", nil)
	if err != nil || r.Status != http.StatusOK || string(r.Body) != "planted" {
		l.t.Errorf("a read of %s failed on hub %s, after %v: %v, %d %s", namespace, hub.Config.NodeID, time.Since(began), err, r.Status, r.Body)
		return
	}
	l.reads.Add(1)
	longer(&l.longestRead, time.Since(began))
}

func longer(most *atomic.Int64, d time.Duration) {
	for old := most.Load(); int64(d) > old && !most.CompareAndSwap(old, int64(d)); old = most.Load() {
	}
}

// restart restarts hubs one after the other, while the others have their load.
func (l *load) restart(which ...int) {
	l.t.Helper()
	for _, i := range which {
		before := l.writes.Load()
		servertest.WaitFor(l.t, "there is load", func() bool { return l.writes.Load() > before+20 || l.t.Failed() })
		l.using[i].Lock()
		l.hubs[i].Restart()
		l.hubs[i].WaitReady()
		l.using[i].Unlock()
	}
}

// finish ends the load, and looks whether all that was acknowledged is there.
func (l *load) finish() {
	l.t.Helper()
	close(l.stop)
	l.wg.Wait()
	l.t.Logf("%d writes, %d of them through a hub that isn't the owner, %d reads; the longest write took %v, the longest read %v",
		l.writes.Load(), l.passedOn.Load(), l.reads.Load(), time.Duration(l.longestWrite.Load()).Round(time.Millisecond), time.Duration(l.longestRead.Load()).Round(time.Millisecond))
	for namespace, entries := range l.written {
		newest := l.order(namespace, entries)
		for part := range slices.Chunk(entries, 500) {
			for _, hub := range l.hubs {
				l.check(hub, namespace, newest, part)
			}
		}
	}
}

// order wants each write at a position of its own in one history, and returns the newest.
func (l *load) order(namespace string, entries []entry) (newest string) {
	l.t.Helper()
	var last dbkernel.Position
	at := map[uint64]string{}
	for _, e := range entries {
		p, err := dbkernel.ParsePosition(e.position)
		if err != nil {
			l.t.Fatalf("%s of %s: %v", e.key, namespace, err)
		}
		if other, taken := at[p.LSN]; taken || !last.Lineage.IsZero() && p.Lineage != last.Lineage {
			l.t.Errorf("%s of %s is at %v, where %q is", e.key, namespace, p, other)
		}
		at[p.LSN] = e.key
		if p.LSN > last.LSN {
			if p.Epoch < last.Epoch {
				l.t.Errorf("%s of %s is at %v, behind %v", e.key, namespace, p, last)
			}
			last, newest = p, e.position
		}
	}
	return newest
}

// check reads what was written from a state that has all of it.
func (l *load) check(hub *servertest.Node, namespace, newest string, entries []entry) {
	l.t.Helper()
	var in struct {
		Operation string   `json:"operation"`
		Keys      []string `json:"keys"`
	}
	in.Operation = "get"
	for _, e := range entries {
		in.Keys = append(in.Keys, e.key)
	}
	body, err := json.Marshal(in)
	if err != nil {
		l.t.Fatal(err)
	}
	r := hub.Do(http.MethodPost, "/api/v1/"+namespace+"/kv/batch?wait=50s", body, servertest.Header{Name: httpapi.HeaderAtLeast, Value: newest})
	var out struct {
		Items []struct {
			Value []byte `json:"value"`
		} `json:"items"`
	}
	if err := json.Unmarshal(r.Body, &out); err != nil || len(out.Items) != len(entries) {
		l.t.Fatalf("reading %s on hub %s: %d %v %.300s", namespace, hub.Config.NodeID, r.Status, err, r.Body)
	}
	for i, e := range entries {
		if got := string(out.Items[i].Value); got != e.value {
			l.t.Errorf("%s of %s is %q on hub %s, and %q was acknowledged at %s", e.key, namespace, got, hub.Config.NodeID, e.value, e.position)
		}
	}
}
