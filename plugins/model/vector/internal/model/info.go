package model

import (
	"context"
	"maps"
	"slices"

	"github.com/unisondb/unisondb/sdk/datamodel"

	"github.com/unisondb/unisondb/plugins/model/vector/internal/cell"
)

// infoRequest is the body of info, which may be empty: all sets.
type infoRequest struct {
	Set string `json:"set"`
}

type infoAnswer struct {
	Sets []infoSet `json:"sets"` // by name
	// MemoryBytes is what the indexes of all namespaces take in this node's program.
	MemoryBytes int64 `json:"memory_bytes"`
	MemoryLimit int64 `json:"memory_limit"`
}

type infoSet struct {
	Set         string `json:"set"`
	Metric      string `json:"metric"`
	Dimension   int    `json:"dimension"`
	Vectors     int    `json:"vectors"`
	MemoryBytes int64  `json:"memory_bytes"`
}

// info lists sets.
func (m *Model) info(ctx context.Context, c datamodel.Call) (datamodel.Answer, error) {
	var r infoRequest
	if len(c.Body) > 0 {
		if err := decode(c, &r); err != nil {
			return datamodel.Answer{}, err
		}
	}
	if r.Set != "" {
		if err := cell.CheckSet(r.Set); err != nil {
			return datamodel.Answer{}, invalid(err)
		}
	}
	body := infoAnswer{Sets: []infoSet{}}
	at, err := m.cache.read(ctx, c, func(sets map[string]*set) error {
		for _, name := range slices.Sorted(maps.Keys(sets)) {
			s := sets[name].rows
			if s == nil || r.Set != "" && r.Set != name {
				continue
			}
			body.Sets = append(body.Sets, infoSet{
				Set: name, Metric: s.Metric().String(), Dimension: s.Dimension(), Vectors: s.Len(), MemoryBytes: s.Memory(),
			})
		}
		if r.Set != "" && len(body.Sets) == 0 {
			return setNotFound(c, r.Set)
		}
		return nil
	})
	if err != nil {
		return datamodel.Answer{}, err
	}
	body.MemoryBytes, body.MemoryLimit = m.cache.memory()
	return answer(body, at)
}
