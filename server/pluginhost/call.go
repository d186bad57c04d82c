package pluginhost

import (
	"context"
	"errors"
	"fmt"

	"github.com/unisondb/unisondb/dbkernel"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
	"github.com/unisondb/unisondb/server/pluginhost/internal/delivery"
	"github.com/unisondb/unisondb/server/pluginhost/internal/models"
	"github.com/unisondb/unisondb/server/pluginhost/internal/process"
)

// Errors of Host, to be asked for by errors.Is.
var (
	// ErrPluginNotFound: no plugin of that name is configured.
	ErrPluginNotFound = errors.New("plugin not found")
	// ErrModelNotFound: no data model of that name serves the namespace.
	ErrModelNotFound = models.ErrModelNotFound
	// ErrMethodNotFound: the data model answers no such method.
	ErrMethodNotFound = models.ErrMethodNotFound
	// ErrNotReady: the plugin doesn't work at the moment; the message says why.
	ErrNotReady = models.ErrNotReady
	// ErrModelFailed: the data model failed, or answered what it mustn't; nothing was written.
	ErrModelFailed = models.ErrFailed
	// ErrModelTimeout: the data model took too long; nothing was written.
	ErrModelTimeout = models.ErrTimeout
	// ErrNoDeadLetters: the plugin has none, because it is no notifier.
	ErrNoDeadLetters = errors.New("no notifier, so it has no dead letters")
	// ErrDeadLetterNotFound: the notifier has no dead letter of that id.
	ErrDeadLetterNotFound = delivery.ErrDeadLetterNotFound
)

// Request is a client's request to a data model.
type Request struct {
	Namespace   string
	Model       string
	Method      string
	Body        []byte
	ContentType string
	// AtLeast is a position that the answer must include; zero: any. The caller has
	// waited for it already.
	AtLeast dbkernel.Position
}

// Answer is a data model's.
type Answer struct {
	Body        []byte
	ContentType string
	Status      int // of HTTP, 200 to 499
	// Position is that of the record that the call made, or else of the state that
	// it read; zero where neither is known.
	Position dbkernel.Position
	// Wrote says that Position is of a record that the call made.
	Wrote bool
}

// Call has a data model answer a request, and commits what it answers. Errors are
// ErrModelNotFound, ErrMethodNotFound, ErrNotReady, ErrModelFailed, ErrModelTimeout,
// dbkernel.ErrReadOnly for a method that writes where this node isn't the namespace's owner,
// dbkernel.ErrConflict, the context's, and those of a commit.
func (h *Host) Call(ctx context.Context, r Request) (Answer, error) {
	e := h.model(r.Model)
	if e == nil {
		return Answer{}, fmt.Errorf("%w: no model %q is configured on this node: write model %q { … }, or see 'unisondb operator plugin list'", ErrModelNotFound, r.Model, r.Model)
	}
	if e.caller == nil {
		return Answer{}, fmt.Errorf("%w: model %q is disabled", ErrNotReady, r.Model)
	}
	a, err := e.caller.Call(ctx, models.Request{
		Namespace: r.Namespace, Method: r.Method, Body: r.Body, ContentType: r.ContentType, AtLeast: r.AtLeast,
	})
	return Answer(a), err
}

// program is a data model's process as models sees it.
type program struct{ *process.Process }

// Methods implements models.Program.
func (p program) Methods() []*pluginv1.Method { return p.Info().GetMethods() }

// Call implements models.Program.
func (p program) Call(ctx context.Context, r *pluginv1.CallRequest) (*pluginv1.CallResponse, error) {
	answer, err := p.Process.Call(ctx, r)
	if errors.Is(err, process.ErrNotReady) || errors.Is(err, process.ErrStopped) || errors.Is(err, process.ErrHung) {
		return nil, fmt.Errorf("%w: %w", ErrNotReady, err)
	}
	return answer, err
}
