package models

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/unisondb/unisondb/dbkernel"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

const (
	// maxTries bounds how often a call is made for one request.
	maxTries = 6
	// sharedTries is how many of these calls may run beside others of the model. Those
	// behind them have the model's writes to themselves, so that nobody is overtaken for ever.
	sharedTries = 2
	// everyone is how many calls of a namespace run at once at most.
	everyone = 1 << 20
	// DefaultTimeout bounds a call with all its tries.
	DefaultTimeout = 30 * time.Second
)

// Program is a data model's, as the process that runs it offers it.
type Program interface {
	// Call waits until the program is ready. An error without a gRPC status is handed on as
	// it is: ErrNotReady says that it is of no use to wait.
	Call(ctx context.Context, r *pluginv1.CallRequest) (*pluginv1.CallResponse, error)
	// Methods is what the program answers; nil while it isn't known.
	Methods() []*pluginv1.Method
}

// Options configure a Caller.
type Options struct {
	Model      string   // its name
	Namespaces []string // that it serves
	Program    Program
	Source     Source
	// Owns says whether this node appends to a namespace.
	Owns    func(namespace string) bool
	Timeout time.Duration // 0: DefaultTimeout
}

// Caller makes clients' calls of one data model. Its methods may be called concurrently.
type Caller struct {
	o Options

	mu    sync.Mutex
	turns map[string]*semaphore.Weighted // of calls that write, by namespace
}

// NewCaller prepares calls.
func NewCaller(o Options) *Caller {
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	return &Caller{o: o, turns: map[string]*semaphore.Weighted{}}
}

// Request is a client's request.
type Request struct {
	Namespace   string
	Method      string
	Body        []byte
	ContentType string
	AtLeast     dbkernel.Position // that the answer must include; zero: any
}

// Answer is a data model's.
type Answer struct {
	Body        []byte
	ContentType string // empty: application/json
	Status      int    // of HTTP: 200 to 299, or what the model says is wrong with the request, 400 to 499
	// Position is that of the record that the call made, or of the state that it read.
	Position dbkernel.Position
	// Wrote says that it is of a record that the call made.
	Wrote bool
}

// Call has the model answer, and commits the operations that it answers, in one record.
// Where something that they depend on has changed, the model is called again. Errors are
// those of this package, dbkernel.ErrReadOnly, before the model is called, for a method that
// writes where this node isn't the owner, dbkernel.ErrConflict where something changed each
// time, the context's, and those of WaitFor and of a commit.
func (c *Caller) Call(ctx context.Context, r Request) (Answer, error) {
	m, err := c.method(r)
	if err != nil {
		return Answer{}, err
	}
	callers := ctx
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	a, err := c.tries(ctx, r, m)
	if err != nil && ctx.Err() != nil && callers.Err() == nil && !errors.Is(err, dbkernel.ErrOutcomeUnknown) {
		err = fmt.Errorf("%w: method %q of model %q didn't answer within %s: try again with less to do, or look at the model's log: %w", ErrTimeout, r.Method, c.o.Model, c.o.Timeout, err)
	}
	return a, err
}

// method finds what is called.
func (c *Caller) method(r Request) (*pluginv1.Method, error) {
	if !slices.Contains(c.o.Namespaces, r.Namespace) {
		return nil, fmt.Errorf("%w: model %q doesn't serve namespace %q: add it to the model's namespaces", ErrModelNotFound, c.o.Model, r.Namespace)
	}
	all := c.o.Program.Methods()
	if all == nil {
		return nil, fmt.Errorf("%w: model %q hasn't been ready yet: try again soon, or see `unisondb operator plugin list`", ErrNotReady, c.o.Model)
	}
	var names []string
	for _, m := range all {
		if m.GetName() == r.Method {
			return m, nil
		}
		names = append(names, m.GetName())
	}
	return nil, fmt.Errorf("%w: model %q has no method %q, but %q", ErrMethodNotFound, c.o.Model, r.Method, names)
}

// tries calls until the answer can be given.
func (c *Caller) tries(ctx context.Context, r Request, m *pluginv1.Method) (Answer, error) {
	for try := 1; ; try++ {
		a, err := c.inTurn(ctx, r, m, try > sharedTries)
		if err == nil || !again(err, try) || try == maxTries || ctx.Err() != nil {
			return a, err
		}
	}
}

// again reports whether the same call may have another outcome, and nothing was
// written. Whether it was the request that the program died of isn't known, so that is
// tried just once more.
func again(err error, try int) bool {
	if errors.Is(err, dbkernel.ErrOutcomeUnknown) {
		return false
	}
	if errors.Is(err, dbkernel.ErrConflict) || errors.Is(err, dbkernel.ErrSuperseded) {
		return true
	}
	var s interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &s) {
		return false
	}
	code := s.GRPCStatus().Code()
	return code == codes.Aborted || code == codes.Unavailable && try == 1
}

// inTurn calls once. Calls that write run side by side, or alone.
func (c *Caller) inTurn(ctx context.Context, r Request, m *pluginv1.Method, alone bool) (Answer, error) {
	if m.GetWrites() {
		turn, share := c.turn(r.Namespace), int64(1)
		if alone {
			share = everyone
		}
		if err := turn.Acquire(ctx, share); err != nil {
			return Answer{}, err
		}
		defer turn.Release(share)
	}
	return c.once(ctx, r, m)
}

func (c *Caller) turn(namespace string) *semaphore.Weighted {
	c.mu.Lock()
	defer c.mu.Unlock()
	turn := c.turns[namespace]
	if turn == nil {
		turn = semaphore.NewWeighted(everyone)
		c.turns[namespace] = turn
	}
	return turn
}

// once calls the program and commits what it answers.
func (c *Caller) once(ctx context.Context, r Request, m *pluginv1.Method) (Answer, error) {
	n, err := c.o.Source(r.Namespace)
	if err != nil {
		return Answer{}, err
	}
	if m.GetWrites() && (n.Replica() || !c.o.Owns(r.Namespace)) {
		return Answer{}, fmt.Errorf("namespace %q: %w: method %q of model %q writes: call it on the namespace's owner", r.Namespace, dbkernel.ErrReadOnly, r.Method, c.o.Model)
	}
	if r.AtLeast != (dbkernel.Position{}) {
		if err := n.WaitFor(ctx, r.AtLeast); err != nil {
			return Answer{}, err
		}
	}
	began, err := n.Position()
	if err != nil {
		return Answer{}, err
	}
	resp, err := c.o.Program.Call(ctx, &pluginv1.CallRequest{
		Namespace: r.Namespace, Method: r.Method, Body: r.Body, ContentType: r.ContentType,
		AtLeast: toProto(r.AtLeast), MayWrite: m.GetWrites(),
	})
	if err != nil {
		return Answer{}, c.failure(ctx, r, err)
	}
	a, err := c.answer(r, m, resp, began)
	if err != nil || len(resp.GetOperations()) == 0 || a.Status >= 300 {
		return a, err
	}
	if a.Position, err = c.commit(ctx, n, resp); err != nil {
		return Answer{}, err
	}
	a.Wrote = true
	return a, nil
}

// failure is why there is no answer.
func (c *Caller) failure(ctx context.Context, r Request, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	kind := ErrFailed
	if s.Code() == codes.Unavailable || s.Code() == codes.Aborted {
		kind = ErrNotReady
	}
	return fmt.Errorf("%w: method %q of model %q: %s: see the model's log: %w", kind, r.Method, c.o.Model, s.Message(), err)
}

// answer checks what the program answered. An answer that doesn't say where it was
// computed was so behind the call's begin: a view reads the newest state.
func (c *Caller) answer(r Request, m *pluginv1.Method, resp *pluginv1.CallResponse, began dbkernel.Position) (Answer, error) {
	wrong := func(format string, args ...any) (Answer, error) {
		return Answer{}, fmt.Errorf("%w: method %q of model %q %s: that is a mistake in the model", ErrFailed, r.Method, c.o.Model, fmt.Sprintf(format, args...))
	}
	a := Answer{Body: resp.GetBody(), ContentType: resp.GetContentType(), Status: int(resp.GetStatus()), Position: began}
	if a.Status == 0 {
		a.Status = 200
	}
	switch {
	case a.Status < 200 || a.Status >= 500 || a.Status >= 300 && a.Status < 400:
		return wrong("answered status %d, use 200 to 299 or 400 to 499", a.Status)
	case len(resp.GetOperations()) > 0 && !m.GetWrites():
		return wrong("answered operations, but isn't declared as one that writes")
	}
	p, err := fromProto(resp.GetPosition())
	switch {
	case err != nil:
		return wrong("answered %s", err)
	case p == (dbkernel.Position{}):
	case p.Lineage == r.AtLeast.Lineage && p.LSN < r.AtLeast.LSN:
		return wrong("answered as of LSN %d, though at least %d was asked for", p.LSN, r.AtLeast.LSN)
	default:
		a.Position = p
	}
	return a, nil
}

// commit makes the operations one record, if what they depend on is still so.
func (c *Caller) commit(ctx context.Context, n *dbkernel.Namespace, resp *pluginv1.CallResponse) (dbkernel.Position, error) {
	pos, err := n.Update(ctx, func(t *dbkernel.Tx) error {
		for _, read := range resp.GetReads() {
			if err := t.ExpectModel(c.o.Model, read.GetKey(), dbkernel.Version(read.GetVersion())); err != nil {
				return err
			}
		}
		for _, op := range resp.GetOperations() {
			if err := c.apply(t, op); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, dbkernel.ErrInvalid) {
		// It isn't the client's request that is invalid, so nobody shall take it for that.
		err = fmt.Errorf("%w: model %q answered operations that can't be: %s: that is a mistake in the model", ErrFailed, c.o.Model, err.Error())
	}
	return pos, err
}

func (c *Caller) apply(t *dbkernel.Tx, op *pluginv1.ModelOperation) error {
	if op.GetDelete() {
		return t.DeleteModel(c.o.Model, op.GetKey())
	}
	return t.PutModel(c.o.Model, op.GetKey(), op.GetValue())
}
