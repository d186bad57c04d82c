package notifier_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/unisondb/unisondb/sdk/notifier"
	"github.com/unisondb/unisondb/sdk/plugin"
)

// poster is a notifier that sends each event by POST.
type poster struct {
	config posterConfig
	client *http.Client
}

type posterConfig struct {
	URL string `config:"url,required" doc:"where events are sent to"`
}

func (p *poster) Configure(_ context.Context, c plugin.Config) error {
	return c.Decode(&p.config)
}

func (p *poster) Close(context.Context) error { return nil }

func (p *poster) Notify(ctx context.Context, b notifier.Batch) (notifier.Result, error) {
	var result notifier.Result
	blocked := map[string]bool{} // keys of which an event wasn't accepted
	for i, event := range b.Events {
		key := string(event.Key)
		if blocked[key] {
			result.Rejected = append(result.Rejected, notifier.Rejection{Event: i, Cause: notifier.Blocked, Reason: "an earlier one of its key wasn't accepted"})
			continue
		}
		if cause, reason := p.post(ctx, b.Message(i)); cause != 0 {
			blocked[key] = true
			result.Rejected = append(result.Rejected, notifier.Rejection{Event: i, Cause: cause, Reason: reason})
		}
	}
	return result, nil
}

// post sends one event. A cause of 0 says that it was accepted.
func (p *poster) post(ctx context.Context, m notifier.Message) (notifier.Cause, string) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.config.URL, bytes.NewReader(m.AppendJSON(nil)))
	if err != nil {
		return notifier.Invalid, err.Error()
	}
	request.Header.Set("Idempotency-Key", m.Namespace+":"+m.ID())
	response, err := p.client.Do(request)
	if err != nil {
		return notifier.Unavailable, err.Error()
	}
	defer response.Body.Close()
	switch {
	case response.StatusCode < 300:
		return 0, ""
	case response.StatusCode >= 500 || response.StatusCode == http.StatusTooManyRequests:
		return notifier.Unavailable, response.Status
	default:
		return notifier.Refused, response.Status
	}
}

// A notifier whose receiver refuses one event goes on with those of other keys.
func Example() {
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get("Idempotency-Key")
		if strings.HasSuffix(id, ":2:0") {
			w.WriteHeader(http.StatusUnprocessableEntity)
			return
		}
		fmt.Println("received", id)
	}))
	defer receiver.Close()

	p := &poster{client: receiver.Client()}
	config, err := plugin.NewConfig("example", map[string]any{"url": receiver.URL})
	if err != nil {
		panic(err)
	}
	if err := p.Configure(context.Background(), config); err != nil {
		panic(err)
	}
	batch := notifier.Batch{Namespace: "orders", Lineage: "ab12"}
	for lsn, key := range []string{"a", "b", "a", "b"} {
		batch.Events = append(batch.Events, notifier.Event{
			Key: []byte(key), Operation: notifier.Put, EntryType: "kv", Epoch: 1048576, LSN: uint64(lsn + 1), Count: 1,
		})
	}
	result, err := p.Notify(context.Background(), batch)
	for _, r := range result.Rejected {
		fmt.Printf("rejected %d: %s\n", r.Event, r.Reason)
	}
	fmt.Println("error", err)
	// Output:
	// received orders:ab12:1048576:1:0
	// received orders:ab12:1048576:3:0
	// rejected 1: 422 Unprocessable Entity
	// rejected 3: an earlier one of its key wasn't accepted
	// error <nil>
}
