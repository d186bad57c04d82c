// Package model answers requests about sets of vectors: it turns those that write
// into operations on cells, and answers the others from indexes in memory that
// follow the namespace. See DESIGN.md of the program.
package model

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/unisondb/unisondb/sdk/datamodel"
	"github.com/unisondb/unisondb/sdk/plugin"

	"github.com/unisondb/unisondb/plugins/model/vector/internal/cell"
	"github.com/unisondb/unisondb/plugins/model/vector/internal/index"
)

// config is the configuration block.
type config struct {
	Memory plugin.Size `config:"memory" doc:"how much memory the indexes of all namespaces may take together; those not used for longest are let go and built again when they are asked for. Leave as much again below memory_limit"`
}

// DefaultMemory is what indexes may take: half of the memory_limit that the node
// sets unless it is told otherwise.
const DefaultMemory plugin.Size = 256 << 20

// leastMemory is less than what anything useful takes.
const leastMemory plugin.Size = 1 << 20

// The methods.
const (
	methodUpsert = "upsert"
	methodDelete = "delete"
	methodGet    = "get"
	methodSearch = "search"
	methodInfo   = "info"
)

// Program is the whole data model.
func Program(version string) datamodel.Program {
	return datamodel.Program{
		Info: plugin.Info{
			Name: "vector", Version: version,
			Description: "named vectors with metadata: upsert, delete, get, nearest-neighbour search",
		},
		Config: config{Memory: DefaultMemory},
		Model:  &Model{},
		Methods: []datamodel.Method{
			{Name: methodUpsert, Writes: true, Description: "adds vectors to a set, or replaces them; the first makes the set"},
			{Name: methodDelete, Writes: true, Description: "removes vectors of a set, or the whole set"},
			{Name: methodGet, Description: "answers vectors by their ids"},
			{Name: methodSearch, Description: "finds the vectors of a set that are nearest to a vector"},
			{Name: methodInfo, Description: "lists the sets"},
		},
	}
}

// Model implements datamodel.Model.
type Model struct {
	cache *cache
}

// Configure implements datamodel.Model.
func (m *Model) Configure(_ context.Context, c plugin.Config, _ datamodel.Views) error {
	conf := config{Memory: DefaultMemory}
	if err := c.Decode(&conf); err != nil {
		return err
	}
	if conf.Memory < leastMemory {
		return plugin.Problems{{Path: "memory", Message: fmt.Sprintf("%s is too little for any index: use at least %s", conf.Memory, leastMemory)}}
	}
	// Garbage is collected more often rather than let the process grow to a multiple
	// of what the indexes take.
	debug.SetMemoryLimit(int64(conf.Memory) + int64(conf.Memory)/4 + 64<<20)
	m.cache = newCache(int64(conf.Memory), c.Logger)
	return nil
}

// Close implements datamodel.Model.
func (m *Model) Close(context.Context) error {
	if m.cache != nil {
		m.cache.close()
	}
	return nil
}

// Call implements datamodel.Model.
func (m *Model) Call(ctx context.Context, c datamodel.Call) (datamodel.Answer, error) {
	switch c.Method {
	case methodUpsert:
		return upsert(ctx, c)
	case methodDelete:
		return remove(ctx, c)
	case methodGet:
		return get(ctx, c)
	case methodSearch:
		return m.search(ctx, c)
	default:
		return m.info(ctx, c)
	}
}

// answer encodes a body.
func answer(body any, at datamodel.Position) (datamodel.Answer, error) {
	encoded, err := json.Marshal(body)
	if err != nil {
		return datamodel.Answer{}, fmt.Errorf("encode the answer: %w", err)
	}
	return datamodel.Answer{Body: encoded, Position: at}, nil
}

// readSettings reads a set's settings, together with other keys: items has those.
// found is false for a set that doesn't exist, whose settings may still carry an
// incarnation; read is what an operation that depends on them has to tell.
func readSettings(ctx context.Context, v datamodel.View, set string, keys ...[]byte) (s cell.Settings, found bool, read datamodel.Read, items []datamodel.Item, at datamodel.Position, err error) {
	key := cell.SettingsKey(set)
	all, at, err := v.Get(ctx, append([][]byte{key}, keys...)...)
	if err != nil {
		return s, false, read, nil, at, err
	}
	read = datamodel.Read{Key: key, Version: all[0].Version}
	if all[0].Version != "" {
		if s, err = decodeSettings(all[0].Value); err != nil {
			return s, false, read, nil, at, fmt.Errorf("set %q: %w", set, err)
		}
	}
	return s, all[0].Version != "" && !s.Dropped, read, all[1:], at, nil
}

// decodeSettings also refuses metrics that this program doesn't know.
func decodeSettings(b []byte) (cell.Settings, error) {
	s, err := cell.DecodeSettings(b)
	if err == nil && !index.Metric(s.Metric).Valid() {
		err = fmt.Errorf("metric %d: %w", s.Metric, cell.ErrDamaged)
	}
	return s, err
}

// Codes of errors beside BAD_REQUEST.
const (
	codeBadRequest   = "BAD_REQUEST"
	codeDimension    = "DIMENSION_MISMATCH"
	codeSetNotFound  = "SET_NOT_FOUND"
	codeVectorAbsent = "VECTOR_NOT_FOUND"
	codeTooLarge     = "INDEX_TOO_LARGE"
)

func badRequest(format string, args ...any) error {
	return &datamodel.Error{Status: 400, Code: codeBadRequest, Message: fmt.Sprintf(format, args...)}
}

func setNotFound(c datamodel.Call, set string) error {
	return &datamodel.Error{Status: 404, Code: codeSetNotFound, Message: fmt.Sprintf("namespace %q has no set %q: upsert vectors to make it", c.Namespace, set)}
}

// invalid is a mistake in the request that another package found.
func invalid(err error) error {
	var known *datamodel.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	return badRequest("%s", err)
}
