package datamodel_test

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/unisondb/unisondb/sdk/datamodel"
)

// index keeps all of a namespace's keys in memory, so that queries don't read
// them one by one.
type index struct {
	mu   sync.Mutex
	at   datamodel.Position
	keys map[string]bool
}

// sync brings the index to the newest position.
func (x *index) sync(ctx context.Context, view datamodel.View) (datamodel.Position, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	at, err := view.Sync(ctx, x.at, func(reset bool, items []datamodel.Item) error {
		if reset {
			x.keys = map[string]bool{}
		}
		for _, item := range items {
			if item.Version == "" { // it was deleted
				delete(x.keys, string(item.Key))
			} else {
				x.keys[string(item.Key)] = true
			}
		}
		return nil
	})
	x.at = at // the zero Position after an error: the next call begins anew
	return at, err
}

// changes is a View of one key that came and one that went.
type changes struct{ datamodel.View }

func (changes) Sync(_ context.Context, _ datamodel.Position, fn func(bool, []datamodel.Item) error) (datamodel.Position, error) {
	err := fn(true, []datamodel.Item{{Key: []byte("a"), Version: "1"}, {Key: []byte("b"), Version: "2"}})
	if err == nil {
		err = fn(false, []datamodel.Item{{Key: []byte("a")}})
	}
	return datamodel.Position{Lineage: "ab12", Epoch: 1048576, LSN: 3}, err
}

// A model that answers from an index syncs it at the beginning of each call.
func Example() {
	var x index
	at, err := x.sync(context.Background(), changes{})
	var keys []string
	for key := range x.keys {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	fmt.Println(keys, at.LSN, err)
	// Output: [b] 3 <nil>
}
