package model

import (
	"context"

	"github.com/unisondb/unisondb/sdk/datamodel"

	"github.com/unisondb/unisondb/plugins/model/vector/internal/cell"
)

// removeRequest is the body of delete.
type removeRequest struct {
	Set string   `json:"set"`
	IDs []string `json:"ids"`
	All bool     `json:"all"`
}

type removeAnswer struct {
	Success bool `json:"success"`
	// More says that the set is gone, but not yet all of its cells: the same request
	// again removes more of them.
	More bool `json:"more,omitempty"`
}

// remove deletes vectors, or a set. What isn't there is deleted already: a request
// may be repeated.
func remove(ctx context.Context, c datamodel.Call) (datamodel.Answer, error) {
	var r removeRequest
	if err := decode(c, &r); err != nil {
		return datamodel.Answer{}, err
	}
	if err := cell.CheckSet(r.Set); err != nil {
		return datamodel.Answer{}, invalid(err)
	}
	if r.All {
		if r.IDs != nil {
			return datamodel.Answer{}, badRequest("ids and all: use one of them")
		}
		return removeSet(ctx, c, r.Set)
	}
	if err := checkIDs(r.IDs); err != nil {
		return datamodel.Answer{}, invalid(err)
	}
	a, err := answer(removeAnswer{Success: true}, datamodel.Position{})
	for _, id := range r.IDs {
		a.Operations = append(a.Operations, datamodel.Operation{Key: cell.VectorKey(r.Set, id), Delete: true})
	}
	return a, err
}

// removeSet makes a set's incarnation void, which hides all its vectors at once, and
// deletes as many of their cells as one record should. What an upsert adds meanwhile
// belongs to the void incarnation, too, so that it can't come back with other settings.
func removeSet(ctx context.Context, c datamodel.Call, set string) (datamodel.Answer, error) {
	s, found, read, _, at, err := readSettings(ctx, c.View, set)
	if err != nil {
		return datamodel.Answer{}, err
	}
	var operations []datamodel.Operation
	if found {
		s.Dropped = true
		operations = append(operations, datamodel.Operation{Key: read.Key, Value: s.Encode()})
	}
	keys, more, err := someKeys(ctx, c.View, cell.VectorPrefix(set))
	if err != nil {
		return datamodel.Answer{}, err
	}
	for _, key := range keys {
		operations = append(operations, datamodel.Operation{Key: key, Delete: true})
	}
	a, err := answer(removeAnswer{Success: true, More: more}, at)
	a.Operations, a.Reads = operations, []datamodel.Read{read}
	return a, err
}

// someKeys are the first keys with a prefix.
func someKeys(ctx context.Context, v datamodel.View, prefix []byte) (keys [][]byte, more bool, err error) {
	var after []byte
	for {
		page, err := v.Scan(ctx, prefix, after, min(1000, maxDropped-len(keys)))
		if err != nil {
			return nil, false, err
		}
		for _, item := range page.Items {
			keys = append(keys, item.Key)
		}
		if !page.More || len(keys) >= maxDropped {
			return keys, page.More, nil
		}
		after = page.Last
	}
}
