package model

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/unisondb/unisondb/sdk/datamodel"

	"github.com/unisondb/unisondb/plugins/model/vector/internal/cell"
)

// getRequest is the body of get. What answers carry is all unless it says so.
type getRequest struct {
	Set          string   `json:"set"`
	IDs          []string `json:"ids"`
	WithValues   *bool    `json:"with_values"`
	WithMetadata *bool    `json:"with_metadata"`
}

type getAnswer struct {
	Vectors []gotVector `json:"vectors"` // in the order asked
}

type gotVector struct {
	ID       string          `json:"id"`
	Found    bool            `json:"found"`
	Values   []float32       `json:"values,omitempty"`
	Metadata json.RawMessage `json:"metadata,omitempty"`
}

// get answers vectors by their ids, from the cells: it needs no index.
func get(ctx context.Context, c datamodel.Call) (datamodel.Answer, error) {
	var r getRequest
	if err := decode(c, &r); err != nil {
		return datamodel.Answer{}, err
	}
	if err := cell.CheckSet(r.Set); err != nil {
		return datamodel.Answer{}, invalid(err)
	}
	if err := checkIDs(r.IDs); err != nil {
		return datamodel.Answer{}, invalid(err)
	}
	keys := make([][]byte, len(r.IDs))
	for i, id := range r.IDs {
		keys[i] = cell.VectorKey(r.Set, id)
	}
	s, found, _, items, at, err := readSettings(ctx, c.View, r.Set, keys...)
	if err != nil {
		return datamodel.Answer{}, err
	}
	if !found {
		return datamodel.Answer{}, setNotFound(c, r.Set)
	}
	body := getAnswer{Vectors: make([]gotVector, len(items))}
	for i, item := range items {
		body.Vectors[i].ID = r.IDs[i]
		if item.Version == "" {
			continue
		}
		v, err := cell.DecodeVector(item.Value)
		if err != nil {
			return datamodel.Answer{}, fmt.Errorf("vector %q of set %q: %w", r.IDs[i], r.Set, err)
		}
		if v.Incarnation != s.Incarnation {
			continue
		}
		body.Vectors[i].Found = true
		if unlessFalse(r.WithValues) {
			body.Vectors[i].Values = v.Values
		}
		if unlessFalse(r.WithMetadata) {
			body.Vectors[i].Metadata = v.Metadata
		}
	}
	return answer(body, at)
}

func unlessFalse(b *bool) bool { return b == nil || *b }
