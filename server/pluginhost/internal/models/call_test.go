package models

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/dbkernel/vfs"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// program is a data model in this process.
type program struct {
	call    func(ctx context.Context, r *pluginv1.CallRequest) (*pluginv1.CallResponse, error)
	methods []*pluginv1.Method
	calls   atomic.Int64
}

func (p *program) Call(ctx context.Context, r *pluginv1.CallRequest) (*pluginv1.CallResponse, error) {
	p.calls.Add(1)
	return p.call(ctx, r)
}

func (p *program) Methods() []*pluginv1.Method { return p.methods }

// caller is a Caller of a program with a method that writes and one that reads.
func (f *fixture) caller(call func(context.Context, *pluginv1.CallRequest) (*pluginv1.CallResponse, error), change ...func(*Options)) (*Caller, *program) {
	p := &program{call: call, methods: []*pluginv1.Method{{Name: "add", Writes: true}, {Name: "get"}}}
	o := Options{Model: model, Namespaces: []string{space}, Program: p, Source: f.source, Owns: func(string) bool { return true }}
	for _, change := range change {
		change(&o)
	}
	return NewCaller(o), p
}

// count is a program that adds to a counter, by one read and one operation.
func (f *fixture) count(ctx context.Context, r *pluginv1.CallRequest) (*pluginv1.CallResponse, error) {
	got, err := f.client.Get(ctx, &pluginv1.GetRequest{Namespace: r.GetNamespace(), Keys: [][]byte{[]byte("n")}})
	if err != nil {
		return nil, err
	}
	item := got.GetItems()[0]
	n, _ := strconv.Atoi(string(item.GetValue()))
	if r.GetMethod() == "get" {
		return &pluginv1.CallResponse{Body: item.GetValue(), Position: got.GetPosition()}, nil
	}
	value := strconv.AppendInt(nil, int64(n+1), 10)
	return &pluginv1.CallResponse{
		Body:       value,
		Operations: []*pluginv1.ModelOperation{{Key: []byte("n"), Value: value}, {Key: []byte("gone"), Delete: true}},
		Reads:      []*pluginv1.ModelRead{{Key: []byte("n"), Version: item.GetVersion()}},
	}, nil
}

func TestCall(t *testing.T) {
	f := newFixture(t)
	c, p := f.caller(f.count)
	a, err := c.Call(f.ctx, Request{Namespace: space, Method: "add", Body: []byte("body"), ContentType: "text/plain"})
	f.check(err)
	if string(a.Body) != "1" || a.Status != 200 || !a.Wrote || a.Position.LSN != f.ns().CommitLSN() {
		t.Errorf("%+v", a)
	}
	b, err := c.Call(f.ctx, Request{Namespace: space, Method: "get", AtLeast: a.Position})
	f.check(err)
	if string(b.Body) != "1" || b.Wrote || b.Position != a.Position || p.calls.Load() != 2 {
		t.Errorf("%+v after %d calls", b, p.calls.Load())
	}
}

// Whoever calls at the same time, each call counts, and few have to be made anew.
func TestCallsCountOnce(t *testing.T) {
	f := newFixture(t)
	c, p := f.caller(f.count)
	const callers, each = 16, 6
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for range each {
				if _, err := c.Call(f.ctx, Request{Namespace: space, Method: "add"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	a, err := c.Call(f.ctx, Request{Namespace: space, Method: "get"})
	if err != nil || string(a.Body) != fmt.Sprint(callers*each) {
		t.Errorf("%q, expected %d: %v", a.Body, callers*each, err)
	}
	if n := p.calls.Load(); n > callers*each*(sharedTries+1)+1 {
		t.Errorf("%d calls of the program", n)
	}
}

// A read that never holds is a conflict, after a few tries.
func TestCallConflicts(t *testing.T) {
	f := newFixture(t)
	f.put("n", "1")
	c, p := f.caller(func(context.Context, *pluginv1.CallRequest) (*pluginv1.CallResponse, error) {
		return &pluginv1.CallResponse{
			Operations: []*pluginv1.ModelOperation{{Key: []byte("x")}},
			Reads:      []*pluginv1.ModelRead{{Key: []byte("n"), Version: "0-1"}},
		}, nil
	})
	if _, err := c.Call(f.ctx, Request{Namespace: space, Method: "add"}); !errors.Is(err, dbkernel.ErrConflict) || p.calls.Load() != maxTries {
		t.Errorf("%v after %d calls", err, p.calls.Load())
	}
	if cells, _ := f.scanned(0); len(cells) != 1 {
		t.Errorf("something was written: %v", cells)
	}
}

// What can't be answered has an error that says why, and nothing is written.
func TestCallFails(t *testing.T) {
	long := strings.Repeat("x", 401)
	answer := func(r *pluginv1.CallResponse) func(context.Context, *pluginv1.CallRequest) (*pluginv1.CallResponse, error) {
		return func(context.Context, *pluginv1.CallRequest) (*pluginv1.CallResponse, error) { return r, nil }
	}
	fail := func(err error) func(context.Context, *pluginv1.CallRequest) (*pluginv1.CallResponse, error) {
		return func(context.Context, *pluginv1.CallRequest) (*pluginv1.CallResponse, error) { return nil, err }
	}
	put := []*pluginv1.ModelOperation{{Key: []byte("k"), Value: []byte("v")}}
	huge := make([]byte, 7<<20)
	var batch []*pluginv1.ModelOperation
	for i := range 5 {
		batch = append(batch, &pluginv1.ModelOperation{Key: fmt.Append(nil, i), Value: huge})
	}
	ask := errors.New("the process says so")
	for name, c := range map[string]struct {
		call    func(context.Context, *pluginv1.CallRequest) (*pluginv1.CallResponse, error)
		request Request
		change  func(*Options)
		want    error
		calls   int64
	}{
		"another namespace":               {request: Request{Namespace: "other", Method: "add"}, want: ErrModelNotFound},
		"another method":                  {request: Request{Namespace: space, Method: "divide"}, want: ErrMethodNotFound},
		"methods that aren't known":       {change: func(o *Options) { o.Program = &program{} }, want: ErrNotReady},
		"a namespace that isn't here":     {change: func(o *Options) { o.Namespaces = []string{"absent"} }, request: Request{Namespace: "absent", Method: "add"}, want: dbkernel.ErrNamespaceNotFound},
		"not the owner":                   {change: func(o *Options) { o.Owns = func(string) bool { return false } }, want: dbkernel.ErrReadOnly},
		"another history":                 {request: Request{Namespace: space, Method: "get", AtLeast: dbkernel.Position{Lineage: dbkernel.Lineage{1}, LSN: 1}}, want: dbkernel.ErrPositionLost},
		"a process that isn't there":      {call: fail(fmt.Errorf("%w: it is starting", ErrNotReady)), want: ErrNotReady, calls: 1},
		"what the process says":           {call: fail(ask), want: ask, calls: 1},
		"a crash":                         {call: fail(status.Error(codes.Unavailable, "EOF")), want: ErrNotReady, calls: 2},
		"a model that asks for more":      {call: fail(status.Error(codes.Aborted, "sync again")), want: ErrNotReady, calls: maxTries},
		"a model that fails":              {call: fail(status.Error(codes.Unknown, "index out of range")), want: ErrFailed, calls: 1},
		"a status of the server's kind":   {call: answer(&pluginv1.CallResponse{Status: 500}), want: ErrFailed, calls: 1},
		"a redirection":                   {call: answer(&pluginv1.CallResponse{Status: 302}), want: ErrFailed, calls: 1},
		"a position that is none":         {call: answer(&pluginv1.CallResponse{Position: &pluginv1.Position{Lineage: "x"}}), want: ErrFailed, calls: 1},
		"operations of a method of reads": {call: answer(&pluginv1.CallResponse{Operations: put}), request: Request{Namespace: space, Method: "get"}, want: ErrFailed, calls: 1},
		"an empty key":                    {call: answer(&pluginv1.CallResponse{Operations: []*pluginv1.ModelOperation{{}}}), want: ErrFailed, calls: 1},
		"a long key":                      {call: answer(&pluginv1.CallResponse{Operations: []*pluginv1.ModelOperation{{Key: []byte(long), Delete: true}}}), want: ErrFailed, calls: 1},
		"a read of an empty key":          {call: answer(&pluginv1.CallResponse{Operations: put, Reads: []*pluginv1.ModelRead{{}}}), want: ErrFailed, calls: 1},
		"a batch that is too large":       {call: answer(&pluginv1.CallResponse{Operations: batch}), want: dbkernel.ErrTooLarge, calls: 1},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			caller, p := f.caller(c.call, func(o *Options) {
				if c.change != nil {
					c.change(o)
				}
			})
			if c.request.Method == "" {
				c.request = Request{Namespace: space, Method: "add"}
			}
			_, err := caller.Call(f.ctx, c.request)
			if !errors.Is(err, c.want) || p.calls.Load() != c.calls {
				t.Errorf("%v after %d calls, expected %v after %d", err, p.calls.Load(), c.want, c.calls)
			}
			if f.ns().CommitLSN() != 0 {
				t.Error("something was written")
			}
		})
	}
}

// What the model says is wrong with the request goes to the client as it is, without
// the operations that it comes with.
func TestCallPassesRefusalsOn(t *testing.T) {
	f := newFixture(t)
	c, _ := f.caller(func(context.Context, *pluginv1.CallRequest) (*pluginv1.CallResponse, error) {
		return &pluginv1.CallResponse{Status: 422, Body: []byte("no"), ContentType: "text/plain", Operations: []*pluginv1.ModelOperation{{Key: []byte("k")}}}, nil
	})
	a, err := c.Call(f.ctx, Request{Namespace: space, Method: "add"})
	if err != nil || a.Status != 422 || string(a.Body) != "no" || a.ContentType != "text/plain" || a.Wrote || f.ns().CommitLSN() != 0 {
		t.Errorf("%+v, %v", a, err)
	}
}

// A program that hangs costs a call its time, and a client that goes away ends it.
func TestCallTimesOut(t *testing.T) {
	f := newFixture(t)
	hang := func(ctx context.Context, _ *pluginv1.CallRequest) (*pluginv1.CallResponse, error) {
		<-ctx.Done()
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	c, _ := f.caller(hang, func(o *Options) { o.Timeout = time.Millisecond })
	if _, err := c.Call(f.ctx, Request{Namespace: space, Method: "add"}); !errors.Is(err, ErrTimeout) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(f.ctx)
	c, _ = f.caller(func(ctx context.Context, r *pluginv1.CallRequest) (*pluginv1.CallResponse, error) {
		cancel()
		return hang(ctx, r)
	})
	if _, err := c.Call(ctx, Request{Namespace: space, Method: "add"}); !errors.Is(err, context.Canceled) || errors.Is(err, ErrTimeout) {
		t.Errorf("a client that goes away: %v", err)
	}
}

// A handle that is superseded while the model works is looked up again.
func TestCallAfterASwitch(t *testing.T) {
	f := newFixture(t)
	kept := f.put("n", "1")
	f.put("n", "2")
	cut := false
	c, p := f.caller(func(ctx context.Context, r *pluginv1.CallRequest) (*pluginv1.CallResponse, error) {
		resp, err := f.count(ctx, r)
		if !cut {
			cut = true
			if _, err := f.db.Truncate(ctx, space, kept.LSN, "a test"); err != nil {
				return nil, err
			}
		}
		return resp, err
	})
	a, err := c.Call(f.ctx, Request{Namespace: space, Method: "add"})
	if err != nil || string(a.Body) != "2" || p.calls.Load() != 2 {
		t.Errorf("%q, %v after %d calls", a.Body, err, p.calls.Load())
	}
}

// On a replica reads are answered, and what writes is refused before the model is called.
func TestCallOnAReplica(t *testing.T) {
	owner := newFixture(t)
	owner.put("n", "41")
	replica := newFixture(t)
	replica.fs = vfs.NewMem()
	replica.db = replica.open(func(o *dbkernel.Options) { o.Defaults.Replica = true })
	n, err := replica.db.Create(space, owner.ns().Status().Lineage)
	owner.check(err)
	tail, err := owner.ns().Tail("test", 1)
	owner.check(err)
	defer tail.Close()
	run, err := tail.Next(owner.ctx, 1<<20)
	owner.check(err)
	owner.check(n.Append(owner.ctx, run.Records, run.Commit))

	c, p := replica.caller(replica.count)
	a, err := c.Call(replica.ctx, Request{Namespace: space, Method: "get"})
	if err != nil || !bytes.Equal(a.Body, []byte("41")) {
		t.Errorf("%q, %v", a.Body, err)
	}
	if _, err := c.Call(replica.ctx, Request{Namespace: space, Method: "add"}); !errors.Is(err, dbkernel.ErrReadOnly) || p.calls.Load() != 1 {
		t.Errorf("%v after %d calls", err, p.calls.Load())
	}
}
