package main

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/unisondb/unisondb/sdk/client"
)

// perRecord is how many changes a write makes, where throughput is measured.
const perRecord = 100

// webhook measures how many changes a second an HTTPS receiver gets, in batches
// and with signatures, while they are written.
func webhook(ctx context.Context, b *bench) (err error) {
	received := make(chan int, 1000)
	var requests atomic.Int64
	receiver := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct{ Events []json.RawMessage }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		requests.Add(1)
		received <- len(body.Events)
	}))
	defer receiver.Close()
	caFile := filepath.Join(b.dir, "webhook-ca.pem")
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: receiver.Certificate().Raw})
	if err := os.WriteFile(caFile, ca, 0o600); err != nil {
		return err
	}
	n, err := b.startNode(ctx, fmt.Sprintf(`namespace "bench" {}
notifier "webhook" "bench" {
  namespaces = ["bench"]
  config {
    url    = %q
    secret = "a secret"
    tls { ca_file = %q }
  }
}
`, receiver.URL, caFile))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.stop()) }()

	begin := time.Now()
	failed := make(chan error, 1)
	go func() { failed <- n.writeMany(ctx, b.options.changes) }()
	for got := 0; got < b.options.changes; {
		select {
		case count := <-received:
			got += count
		case err := <-failed:
			if err != nil {
				return err
			}
			failed = nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	rate := float64(b.options.changes) / time.Since(begin).Seconds()
	b.figures = append(b.figures, figure{
		scenario: b.scenario, what: "changes", value: fmt.Sprintf("%.0f/s", rate), budget: ">= 10000/s", met: rate >= 10_000,
	})
	b.figure("changes in a request", fmt.Sprintf("%.0f", float64(b.options.changes)/float64(requests.Load())))
	return nil
}

// writeMany writes changes as fast as it goes, many in each record.
func (n *node) writeMany(ctx context.Context, changes int) error {
	for i := 0; i < changes; {
		var items []client.KeyValue
		for range min(perRecord, changes-i) {
			items = append(items, client.KeyValue{Key: fmt.Appendf(nil, "key:%d", i), Value: []byte("value")})
			i++
		}
		if _, err := n.client.KV().PutAll(ctx, items); err != nil {
			return err
		}
	}
	return nil
}
