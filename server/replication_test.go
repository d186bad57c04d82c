package server_test

import (
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"github.com/unisondb/unisondb/server"
	"github.com/unisondb/unisondb/server/servertest"
)

// TestTheConfiguredRateHolds: the cap of the replication block reaches the streams.
func TestTheConfiguredRateHolds(t *testing.T) {
	cfg := servertest.Config(t, "hub", "default")
	cfg.Replication.FollowerBytesPerSecond = 256 << 10
	hub := servertest.Run(t, server.RoleHub, cfg)
	value := make([]byte, 64<<10)
	if _, err := rand.Read(value); err != nil {
		t.Fatal(err)
	}
	p := ""
	for i := range 10 {
		p = hub.Put("default", fmt.Sprint("k", i), string(value))
	}
	start := time.Now()
	edge := servertest.Relayer(t, "edge", hub, "default")
	edge.WaitReady()
	edge.Get("default", "k9", p)
	if took := time.Since(start); took < 1500*time.Millisecond {
		t.Errorf("640 KiB at 256 KiB a second took %v", took)
	}
}
