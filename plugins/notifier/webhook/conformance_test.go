package main

import (
	"encoding/pem"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/unisondb/unisondb/sdk/notifier"
	"github.com/unisondb/unisondb/sdk/sdktest"
)

// TestConformance runs the suite for notifiers over gRPC, with a real receiver.
func TestConformance(t *testing.T) {
	var newest *receiver
	var broken atomic.Bool
	empty := writePEM(t, "empty.pem", &pem.Block{Type: "NOTHING"})
	const url = "https://example.com/"
	sdktest.Notifier(t, func(*testing.T) notifier.Program { return program() }, sdktest.NotifierOptions{
		Config: func(t *testing.T) map[string]any {
			newest = newReceiver(t, func(w http.ResponseWriter, _ call) {
				if broken.Load() {
					w.WriteHeader(http.StatusInternalServerError)
				}
			})
			return map[string]any{
				"url": newest.URL, "secret": "s", "timeout": "1m", "max_in_flight": 8, "max_events": 50,
				"tls": map[string]any{"ca_file": newest.caFile},
			}
		},
		BadConfigs: []sdktest.BadConfig{
			{Name: "no URL", Config: map[string]any{}, Path: "url"},
			{Name: "link-local", Config: map[string]any{"url": "http://169.254.169.254/"}, Path: "url"},
			{Name: "authorities", Config: map[string]any{"url": url, "tls": map[string]any{"ca_file": empty}}, Path: "tls.ca_file"},
			{Name: "format", Config: map[string]any{"url": url, "format": "xml"}, Path: "format"},
			{Name: "slip in a block", Config: map[string]any{"url": url, "tls": map[string]any{"ca_fiel": "x"}}, Path: "tls.ca_fiel"},
		},
		Received: func(*testing.T) []notifier.Message {
			newest.mu.Lock()
			defer newest.mu.Unlock()
			return append([]notifier.Message(nil), newest.accepted...)
		},
		Break: func(*testing.T) (mend func()) {
			broken.Store(true)
			return func() { broken.Store(false) }
		},
	})
}
