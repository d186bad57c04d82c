package delivery

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/dbkernel/vfs"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// counter is a target that does nothing but count.
type counter struct {
	events atomic.Int64
	want   int64
	done   chan struct{}
}

func (c *counter) Notify(_ context.Context, r *pluginv1.NotifyRequest) (*pluginv1.NotifyResponse, error) {
	if n := c.events.Add(int64(len(r.Events))); n >= c.want && n-int64(len(r.Events)) < c.want {
		close(c.done)
	}
	return &pluginv1.NotifyResponse{}, nil
}

// BenchmarkThroughput reads what is in the log already, in one namespace and in
// several side by side, and prints changes a second.
func BenchmarkThroughput(b *testing.B) {
	const records, perRecord = 2000, 100
	for _, namespaces := range []int{1, 4} {
		b.Run(fmt.Sprintf("namespaces=%d", namespaces), func(b *testing.B) {
			names := make([]string, namespaces)
			for i := range names {
				names[i] = fmt.Sprintf("orders-%d", i)
			}
			db := openKernel(b, vfs.NewMem(), names...)
			for _, name := range names {
				n := namespace(b, db, name)
				for i := range records {
					keys := make([]string, perRecord)
					for j := range keys {
						keys[j] = fmt.Sprintf("key-%06d", i*perRecord+j)
					}
					putKeys(b, n, keys...)
				}
			}
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				c := &counter{want: int64(namespaces * records * perRecord), done: make(chan struct{})}
				var stops []func()
				for _, name := range names {
					o := kernelOptions(b, db, c)
					o.Namespace, o.Cursor = name, nil
					stops = append(stops, start(b, mustPump(b, o)))
				}
				<-c.done
				for _, stop := range stops {
					stop()
				}
			}
			b.ReportMetric(float64(b.N*namespaces*records*perRecord)/b.Elapsed().Seconds(), "changes/s")
		})
	}
}

// BenchmarkLatency prints how long it takes from the end of a write to the call of
// Notify, on an idle namespace; the file system is in memory.
func BenchmarkLatency(b *testing.B) {
	db := openKernel(b, vfs.NewMem(), "orders")
	n := namespace(b, db, "orders")
	putKeys(b, n, "begin")
	came := make(chan time.Time, 1)
	o := kernelOptions(b, db, targetFunc(func(context.Context, *pluginv1.NotifyRequest) (*pluginv1.NotifyResponse, error) {
		came <- time.Now()
		return &pluginv1.NotifyResponse{}, nil
	}))
	start(b, mustPump(b, o))
	<-came
	var all []time.Duration
	batch := func() *dbkernel.Batch {
		var batch dbkernel.Batch
		if err := batch.Put([]byte("k"), []byte("v"), 0); err != nil {
			b.Fatal(err)
		}
		return &batch
	}
	b.ResetTimer()
	for range b.N {
		if _, err := n.Write(context.Background(), batch()); err != nil {
			b.Fatal(err)
		}
		written := time.Now()
		all = append(all, (<-came).Sub(written))
	}
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Nanoseconds()), "p50-ns")
	b.ReportMetric(float64(all[len(all)*99/100].Nanoseconds()), "p99-ns")
}

// targetFunc is a function as a target.
type targetFunc func(ctx context.Context, r *pluginv1.NotifyRequest) (*pluginv1.NotifyResponse, error)

func (f targetFunc) Notify(ctx context.Context, r *pluginv1.NotifyRequest) (*pluginv1.NotifyResponse, error) {
	return f(ctx, r)
}
