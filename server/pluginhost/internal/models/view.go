package models

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/unisondb/unisondb/dbkernel"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

const (
	// maxKeys bounds the keys of one Get.
	maxKeys = 1000
	// maxReads and maxSyncs bound what a program may have read for it at once; more wait.
	// So one that asks without end takes no reader of the B+tree from others, and a few pages
	// of memory. They are apart, since a program may read while it is told what changed.
	maxReads = 16
	maxSyncs = 16
)

// View serves a model's program the keys of that model, in the namespaces that are
// configured for it, and nothing else.
type View struct {
	pluginv1.UnimplementedViewServer
	model      string
	namespaces []string
	source     Source
	reads      *semaphore.Weighted
	syncs      *semaphore.Weighted
	pageItems  int // of a page that Sync reads; 0: as many as a page may have
	messageLen int // about how many bytes of keys and values a message of Sync has
}

// NewView makes the service of a model. Its name is that of its entries, too.
func NewView(model string, namespaces []string, source Source) *View {
	return &View{
		model: model, namespaces: slices.Clone(namespaces), source: source, messageLen: messageLen,
		reads: semaphore.NewWeighted(maxReads), syncs: semaphore.NewWeighted(maxSyncs),
	}
}

// namespace finds a namespace of the model.
func (v *View) namespace(name string) (*dbkernel.Namespace, error) {
	if !slices.Contains(v.namespaces, name) {
		return nil, status.Errorf(codes.PermissionDenied, "namespace %q isn't configured for model %q: add it to the model's namespaces", name, v.model)
	}
	return v.source(name)
}

// open opens a view of a namespace as it is now. A handle that was superseded since it
// was looked up is looked up again.
func (v *View) open(ctx context.Context, name string) (*dbkernel.View, error) {
	for {
		n, err := v.namespace(name)
		if err != nil {
			return nil, err
		}
		view, err := n.View()
		if !errors.Is(err, dbkernel.ErrSuperseded) || ctx.Err() != nil {
			return view, err
		}
	}
}

// Get implements pluginv1.ViewServer.
func (v *View) Get(ctx context.Context, r *pluginv1.GetRequest) (*pluginv1.GetResponse, error) {
	resp, err := v.get(ctx, r)
	return resp, statusOf(ctx, err)
}

func (v *View) get(ctx context.Context, r *pluginv1.GetRequest) (*pluginv1.GetResponse, error) {
	if err := v.reads.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer v.reads.Release(1)
	if len(r.GetKeys()) > maxKeys {
		return nil, status.Errorf(codes.InvalidArgument, "%d keys at once, at most %d: ask for fewer", len(r.GetKeys()), maxKeys)
	}
	view, err := v.open(ctx, r.GetNamespace())
	if err != nil {
		return nil, err
	}
	defer view.Close()
	resp := &pluginv1.GetResponse{Items: make([]*pluginv1.Item, len(r.GetKeys())), Position: toProto(view.Position())}
	size := 0
	for i, key := range r.GetKeys() {
		value, err := view.GetModel(v.model, key)
		if err != nil && !errors.Is(err, dbkernel.ErrNotFound) {
			return nil, err
		}
		if size += len(value.Data); size > dbkernel.MaxBatchLen {
			return nil, status.Errorf(codes.ResourceExhausted, "the values have over %d bytes: ask for fewer keys at once", dbkernel.MaxBatchLen)
		}
		resp.Items[i] = itemOf(key, value)
	}
	return resp, nil
}

func itemOf(key []byte, value dbkernel.Value) *pluginv1.Item {
	return &pluginv1.Item{Key: key, Value: value.Data, Version: string(value.Version)}
}

// Scan implements pluginv1.ViewServer.
func (v *View) Scan(ctx context.Context, r *pluginv1.ScanRequest) (*pluginv1.ScanResponse, error) {
	resp, err := v.scan(ctx, r)
	return resp, statusOf(ctx, err)
}

func (v *View) scan(ctx context.Context, r *pluginv1.ScanRequest) (*pluginv1.ScanResponse, error) {
	if err := v.reads.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer v.reads.Release(1)
	view, err := v.open(ctx, r.GetNamespace())
	if err != nil {
		return nil, err
	}
	defer view.Close()
	limit := int(min(r.GetLimit(), dbkernel.MaxPageItems))
	page, err := view.ScanModel(v.model, dbkernel.Scan{Prefix: r.GetPrefix(), After: r.GetAfter(), Limit: limit})
	if err != nil {
		return nil, err
	}
	resp := &pluginv1.ScanResponse{Position: toProto(view.Position()), More: page.More, Last: page.Last}
	for _, item := range page.Items {
		resp.Items = append(resp.Items, itemOf(item.Key, item.Value))
	}
	return resp, nil
}

// statusOf is an error as the program gets it.
func statusOf(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	if ctx.Err() != nil {
		return status.FromContextError(ctx.Err()).Err()
	}
	for _, known := range statuses {
		if errors.Is(err, known.err) {
			return status.Error(known.code, err.Error())
		}
	}
	return status.Error(codes.Internal, fmt.Sprintf("%s; the node's log may say more", err))
}

// statuses are the codes of the kernel's errors, tried in order. What is over by itself
// is ABORTED or UNAVAILABLE: a model that passes it on is called again.
var statuses = []struct {
	err  error
	code codes.Code
}{
	{errInterrupted, codes.Aborted},
	{dbkernel.ErrSuperseded, codes.Aborted},
	{dbkernel.ErrTrimmed, codes.Aborted},
	{dbkernel.ErrClosed, codes.Unavailable},
	{dbkernel.ErrNotReady, codes.Unavailable},
	{dbkernel.ErrNamespaceNotFound, codes.NotFound},
	{dbkernel.ErrInvalid, codes.InvalidArgument},
	{dbkernel.ErrDamaged, codes.DataLoss},
}
