package sdktest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// fakeNode is what a data model sees of a node: namespaces in memory, with
// versions, a log of changes that can be trimmed, and commits that conflict.
type fakeNode struct {
	pluginv1.UnimplementedViewServer

	mu         sync.Mutex
	namespaces map[string]*fakeNamespace
}

// fakeNamespace is a model's cells in one namespace, and how they came about.
type fakeNamespace struct {
	lineage string
	cells   map[string]*pluginv1.Item
	lsn     uint64
	log     []change // of LSNs above trimmed
	trimmed uint64
}

// change is one item of a record.
type change struct {
	lsn  uint64
	item *pluginv1.Item
}

// fakeEpoch is that of all fake namespaces.
const fakeEpoch = 1 << 20

func newFakeNode() *fakeNode { return &fakeNode{namespaces: map[string]*fakeNamespace{}} }

// namespace gives a namespace, made at its first use.
func (f *fakeNode) namespace(name string) *fakeNamespace {
	n, ok := f.namespaces[name]
	if !ok {
		n = &fakeNamespace{lineage: fmt.Sprintf("%032x", name), cells: map[string]*pluginv1.Item{}}
		f.namespaces[name] = n
	}
	return n
}

func (n *fakeNamespace) position() *pluginv1.Position {
	return &pluginv1.Position{Lineage: n.lineage, Epoch: fakeEpoch, Lsn: n.lsn}
}

// commit does what a node does with an answer: all operations as one record, or
// none where a read has changed.
func (f *fakeNode) commit(namespace string, operations []*pluginv1.ModelOperation, reads []*pluginv1.ModelRead) (committed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.namespace(namespace)
	for _, r := range reads {
		if n.cells[string(r.GetKey())].GetVersion() != r.GetVersion() {
			return false
		}
	}
	if len(operations) == 0 {
		return true
	}
	n.lsn++
	for i, o := range operations {
		item := &pluginv1.Item{Key: o.GetKey()}
		if o.GetDelete() {
			delete(n.cells, string(o.GetKey()))
		} else {
			item.Value, item.Version = o.GetValue(), fmt.Sprintf("%d.%d", n.lsn, i)
			n.cells[string(o.GetKey())] = item
		}
		n.log = append(n.log, change{n.lsn, item})
	}
	return true
}

// trim forgets the log, so that whoever isn't at its end begins anew.
func (f *fakeNode) trim(namespace string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.namespace(namespace)
	n.log, n.trimmed = nil, n.lsn
}

// position is the newest of a namespace.
func (f *fakeNode) position(namespace string) *pluginv1.Position {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.namespace(namespace).position()
}

// state is a namespace's cells without their versions.
func (f *fakeNode) state(namespace string) map[string]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	state := map[string]string{}
	for key, item := range f.namespace(namespace).cells {
		state[key] = string(item.GetValue())
	}
	return state
}

// copyTo gives another namespace the same cells by another history: from the last
// key to the first, one record each, with values on the way that don't stay.
func (f *fakeNode) copyTo(from, to string) {
	state := f.state(from)
	put := func(key, value string) {
		f.commit(to, []*pluginv1.ModelOperation{{Key: []byte(key), Value: []byte(value)}}, nil)
	}
	keys := slices.Sorted(maps.Keys(state))
	slices.Reverse(keys)
	for i, key := range keys {
		put(key, state[keys[(i+1)%len(keys)]]) // some other value first
	}
	for i, key := range keys {
		if i%2 == 0 {
			f.commit(to, []*pluginv1.ModelOperation{{Key: []byte(key), Delete: true}}, nil)
		}
		put(key, state[key])
	}
}

// Get implements the service View.
func (f *fakeNode) Get(_ context.Context, r *pluginv1.GetRequest) (*pluginv1.GetResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.namespace(r.GetNamespace())
	answer := &pluginv1.GetResponse{Position: n.position()}
	for _, key := range r.GetKeys() {
		item, ok := n.cells[string(key)]
		if !ok {
			item = &pluginv1.Item{Key: key}
		}
		answer.Items = append(answer.Items, item)
	}
	return answer, nil
}

// fakePage is what a page of the fake holds at most: little, so that models meet
// more than one.
const fakePage = 7

// Scan implements the service View.
func (f *fakeNode) Scan(_ context.Context, r *pluginv1.ScanRequest) (*pluginv1.ScanResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.namespace(r.GetNamespace())
	limit := fakePage
	if r.GetLimit() > 0 {
		limit = min(limit, int(r.GetLimit()))
	}
	answer := &pluginv1.ScanResponse{Position: n.position()}
	for _, key := range slices.Sorted(maps.Keys(n.cells)) {
		if !bytes.HasPrefix([]byte(key), r.GetPrefix()) || len(r.GetAfter()) > 0 && key <= string(r.GetAfter()) {
			continue
		}
		if len(answer.GetItems()) == limit {
			answer.More = true
			break
		}
		answer.Items = append(answer.Items, n.cells[key])
		answer.Last = []byte(key)
	}
	return answer, nil
}

// Sync implements the service View.
func (f *fakeNode) Sync(r *pluginv1.SyncRequest, stream grpc.ServerStreamingServer[pluginv1.SyncResponse]) error {
	messages, err := f.sync(r)
	if err != nil {
		return err
	}
	for _, m := range messages {
		if err := stream.Send(m); err != nil {
			return err
		}
	}
	return nil
}

func (f *fakeNode) sync(r *pluginv1.SyncRequest) ([]*pluginv1.SyncResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.namespace(r.GetNamespace())
	from := r.GetFrom()
	if from != nil && from.GetLineage() == n.lineage && from.GetLsn() > n.lsn {
		return nil, status.Errorf(codes.InvalidArgument, "sync from LSN %d of %d", from.GetLsn(), n.lsn)
	}
	var items []*pluginv1.Item
	reset := from == nil || from.GetLineage() != n.lineage || from.GetLsn() < n.trimmed
	if reset {
		for _, key := range slices.Sorted(maps.Keys(n.cells)) {
			items = append(items, n.cells[key])
		}
	} else {
		for _, c := range n.log {
			if c.lsn > from.GetLsn() {
				items = append(items, c.item)
			}
		}
	}
	messages := []*pluginv1.SyncResponse{{Reset_: reset}}
	for page := range slices.Chunk(items, fakePage) {
		messages = append(messages, &pluginv1.SyncResponse{Items: page})
	}
	return append(messages, &pluginv1.SyncResponse{Position: n.position()}), nil
}
