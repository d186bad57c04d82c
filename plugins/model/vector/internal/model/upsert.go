package model

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/unisondb/unisondb/sdk/datamodel"

	"github.com/unisondb/unisondb/plugins/model/vector/internal/cell"
	"github.com/unisondb/unisondb/plugins/model/vector/internal/filter"
	"github.com/unisondb/unisondb/plugins/model/vector/internal/index"
)

// upsertRequest is the body of upsert. Metric and dimension are those of a set that
// is to be made; of an existing one they must be what it has.
type upsertRequest struct {
	Set       string         `json:"set"`
	Metric    string         `json:"metric"`
	Dimension *int           `json:"dimension"`
	Vectors   []upsertVector `json:"vectors"`
}

type upsertVector struct {
	ID           string          `json:"id"`
	Values       []float32       `json:"values"`
	ValuesBase64 string          `json:"values_base64"`
	Metadata     json.RawMessage `json:"metadata"`
}

type upsertAnswer struct {
	Success bool `json:"success"`
	Count   int  `json:"count"`
	Created bool `json:"created"` // the set was made
}

// upsert adds or replaces vectors. The set's settings are what it depends on, so that
// of two requests that make a set at once one is called again, and finds it.
func upsert(ctx context.Context, c datamodel.Call) (datamodel.Answer, error) {
	var r upsertRequest
	if err := decode(c, &r); err != nil {
		return datamodel.Answer{}, err
	}
	vectors, err := r.vectors()
	if err != nil {
		return datamodel.Answer{}, invalid(err)
	}
	m, err := metric(r.Metric)
	if err != nil {
		return datamodel.Answer{}, err
	}
	s, found, read, _, _, err := readSettings(ctx, c.View, r.Set)
	if err != nil {
		return datamodel.Answer{}, err
	}
	var operations []datamodel.Operation
	if !found {
		s = r.settings(m, len(vectors[0].Values), s.Incarnation+1)
		operations = append(operations, datamodel.Operation{Key: cell.SettingsKey(r.Set), Value: s.Encode()})
	}
	if err := r.fits(m, s); err != nil {
		return datamodel.Answer{}, err
	}
	size := 0
	for i, v := range vectors {
		if err := checkVector(r.Set, v.Values, s, fmt.Sprintf("vector %q", r.Vectors[i].ID)); err != nil {
			return datamodel.Answer{}, err
		}
		v.Incarnation = s.Incarnation
		o := datamodel.Operation{Key: cell.VectorKey(r.Set, r.Vectors[i].ID), Value: v.Encode()}
		if size += len(o.Key) + len(o.Value); size > maxBytes {
			return datamodel.Answer{}, badRequest("the vectors take more than %d bytes: send fewer at once", maxBytes)
		}
		operations = append(operations, o)
	}
	a, err := answer(upsertAnswer{Success: true, Count: len(vectors), Created: !found}, datamodel.Position{})
	a.Operations, a.Reads = operations, []datamodel.Read{read}
	return a, err
}

// vectors checks all that doesn't depend on the set.
func (r *upsertRequest) vectors() ([]cell.Vector, error) {
	if err := cell.CheckSet(r.Set); err != nil {
		return nil, err
	}
	if r.Dimension != nil && (*r.Dimension < 1 || *r.Dimension > cell.MaxDimension) {
		return nil, fmt.Errorf("dimension: it is %d, use 1 to %d", *r.Dimension, cell.MaxDimension)
	}
	if len(r.Vectors) == 0 || len(r.Vectors) > maxUpsert {
		return nil, fmt.Errorf("vectors: there are %d, use 1 to %d at once", len(r.Vectors), maxUpsert)
	}
	seen := make(map[string]bool, len(r.Vectors))
	vectors := make([]cell.Vector, len(r.Vectors))
	for i, v := range r.Vectors {
		one, err := v.vector()
		if err != nil {
			return nil, fmt.Errorf("vectors, number %d: %w", i, err)
		}
		if seen[v.ID] {
			return nil, fmt.Errorf("vectors, number %d: id %q is there twice: send each id once", i, v.ID)
		}
		seen[v.ID] = true
		vectors[i] = one
	}
	return vectors, nil
}

func (v *upsertVector) vector() (cell.Vector, error) {
	if err := cell.CheckID(v.ID); err != nil {
		return cell.Vector{}, err
	}
	list, err := values(v.Values, v.ValuesBase64, "values")
	if err != nil {
		return cell.Vector{}, fmt.Errorf("id %q: %w", v.ID, err)
	}
	if list == nil {
		return cell.Vector{}, fmt.Errorf("id %q: values are missing, use \"values\" or \"values_base64\"", v.ID)
	}
	one := cell.Vector{Values: list}
	if len(v.Metadata) == 0 || string(v.Metadata) == "null" {
		return one, nil
	}
	if one.Metadata, _, err = filter.Metadata(v.Metadata); err != nil {
		return cell.Vector{}, fmt.Errorf("id %q: %w", v.ID, err)
	}
	if len(one.Metadata) > cell.MaxMetadataSize {
		return cell.Vector{}, fmt.Errorf("id %q: metadata of %d bytes, use at most %d", v.ID, len(one.Metadata), cell.MaxMetadataSize)
	}
	return one, nil
}

// settings are those of a set that is to be made.
func (r *upsertRequest) settings(m index.Metric, dimension int, incarnation uint64) cell.Settings {
	if m == 0 {
		m = index.Cosine
	}
	if r.Dimension != nil {
		dimension = *r.Dimension
	}
	return cell.Settings{Metric: uint8(m), Dimension: dimension, Incarnation: incarnation}
}

// fits says whether what the request says of the set is so.
func (r *upsertRequest) fits(m index.Metric, s cell.Settings) error {
	if m != 0 && m != index.Metric(s.Metric) {
		return badRequest("set %q has the metric %s, not %s, and keeps it: leave \"metric\" out, or use another set", r.Set, index.Metric(s.Metric), m)
	}
	if r.Dimension != nil && *r.Dimension != s.Dimension {
		return &datamodel.Error{Status: 400, Code: codeDimension, Message: fmt.Sprintf("set %q has vectors of %d values, not %d, and keeps that: leave \"dimension\" out, or use another set", r.Set, s.Dimension, *r.Dimension)}
	}
	return nil
}
