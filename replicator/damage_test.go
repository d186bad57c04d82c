package replicator_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/replicator"
)

// sickStore has the namespace as it is, and from a moment on as the kernel has one
// whose B+tree is damaged. What takes its place is well.
type sickStore struct {
	replicator.Store
	patient replicator.Log
	sick    *atomic.Bool
}

func (s sickStore) Open(namespace string) (replicator.Log, error) {
	log, err := s.Store.Open(namespace)
	if err == nil && log == s.patient {
		return sickLog{log, s.sick}, nil
	}
	return log, err
}

type sickLog struct {
	replicator.Log
	sick *atomic.Bool
}

func (l sickLog) Status() dbkernel.Status {
	st := l.Log.Status()
	if l.sick.Load() {
		st.State, st.Code, st.Reason = dbkernel.StateQuarantined, replicator.CodeDamaged, "a test"
	}
	return st
}

func (l sickLog) Integrity() dbkernel.Integrity {
	i := l.Log.Integrity()
	if l.sick.Load() {
		i.TreeDamage = "a test"
	}
	return i
}

func (l sickLog) Append(ctx context.Context, records [][]byte, commit uint64) error {
	if l.sick.Load() {
		return fmt.Errorf("%w: %w: a test", dbkernel.ErrFrozen, dbkernel.ErrDamaged)
	}
	return l.Log.Append(ctx, records, commit)
}

// TestDamageIsCopiedAtOnce: a replica whose B+tree turns out to be damaged while records
// come is copied anew without a wait.
func TestDamageIsCopiedAtOnce(t *testing.T) {
	for _, written := range []bool{true, false} {
		t.Run(fmt.Sprint("written=", written), func(t *testing.T) {
			cluster(t, func(c *diskCluster) {
				c.hub.put(1, 100, 100)
				edge := c.relayer("edge", "hub")
				edge.awaitSame(c.hub)
				patient, err := replicator.KernelStore(edge.db).Open(ns)
				if err == nil {
					err = edge.upstream.Close()
				}
				if err != nil {
					t.Fatal(err)
				}
				sick := new(atomic.Bool)
				edge.upstream, err = replicator.NewUpstream(replicator.UpstreamOptions{
					Name: "up", NodeID: edge.id, Addresses: []string{"hub"}, Namespaces: []string{ns},
					Store: sickStore{replicator.KernelStore(edge.db), patient, sick},
					Dial:  c.network.Dialler(edge.id), Rand: func() float64 { return 0.5 },
				})
				if err != nil {
					t.Fatal(err)
				}
				edge.upstream.Start()
				edge.await("the stream", func() bool { return edge.status().Connected })
				sick.Store(true)
				began := time.Now()
				if written {
					c.hub.write("a", []byte("b"))
				}
				edge.await("the new copy", func() bool { return edge.status().Forks.Replaced == 1 })
				if d := time.Since(began); d > 2*time.Second {
					t.Errorf("it came after %v", d)
				}
				edge.awaitSame(c.hub)
			})
		})
	}
}
