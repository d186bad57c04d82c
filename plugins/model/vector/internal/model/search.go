package model

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/unisondb/unisondb/sdk/datamodel"

	"github.com/unisondb/unisondb/plugins/model/vector/internal/cell"
	"github.com/unisondb/unisondb/plugins/model/vector/internal/filter"
	"github.com/unisondb/unisondb/plugins/model/vector/internal/index"
)

// searchRequest is the body of search.
type searchRequest struct {
	Set          string          `json:"set"`
	Vector       []float32       `json:"vector"`
	VectorBase64 string          `json:"vector_base64"`
	ID           string          `json:"id"` // instead of a vector: that one's, which isn't among the results
	K            *int            `json:"k"`
	Metric       string          `json:"metric"` // the set's unless named; another one is searched exactly
	Filter       json.RawMessage `json:"filter"`
	Exact        bool            `json:"exact"`
	WithValues   bool            `json:"with_values"`
	WithMetadata *bool           `json:"with_metadata"`
}

type searchAnswer struct {
	Results []searchResult `json:"results"`
	Metric  string         `json:"metric"`
	Exact   bool           `json:"exact"` // no vector was left out on account of its sketch alone
}

type searchResult struct {
	ID       string          `json:"id"`
	Score    score           `json:"score"`
	Values   []float32       `json:"values,omitempty"`
	Metadata json.RawMessage `json:"metadata,omitempty"`
}

// score is written as the shortest decimal that is the same float32, or, where it
// is none, the same float64.
type score float64

// MarshalJSON implements json.Marshaler.
func (s score) MarshalJSON() ([]byte, error) {
	bits := 64
	if float64(float32(s)) == float64(s) {
		bits = 32
	}
	return strconv.AppendFloat(nil, float64(s), 'g', -1, bits), nil
}

// search finds the nearest vectors, in the newest state of the namespace.
func (m *Model) search(ctx context.Context, c datamodel.Call) (datamodel.Answer, error) {
	var r searchRequest
	if err := decode(c, &r); err != nil {
		return datamodel.Answer{}, err
	}
	q, err := r.query()
	if err != nil {
		return datamodel.Answer{}, invalid(err)
	}
	var body searchAnswer
	at, err := m.cache.read(ctx, c, func(sets map[string]*set) error {
		s := sets[r.Set]
		if s == nil || s.rows == nil {
			return setNotFound(c, r.Set)
		}
		if err := r.complete(&q, s); err != nil {
			return err
		}
		found := s.rows.Search(q)
		body = searchAnswer{Results: make([]searchResult, len(found.Hits)), Metric: q.Metric.String(), Exact: found.Exact}
		for i, h := range found.Hits {
			body.Results[i] = r.result(h)
		}
		return nil
	})
	if err != nil {
		return datamodel.Answer{}, err
	}
	return answer(body, at)
}

// query checks all that doesn't depend on the set.
func (r *searchRequest) query() (index.Query, error) {
	q := index.Query{K: defaultK, Exact: r.Exact, Without: r.ID}
	if err := cell.CheckSet(r.Set); err != nil {
		return q, err
	}
	if r.K != nil {
		q.K = *r.K
	}
	if q.K < 1 || q.K > maxK {
		return q, fmt.Errorf("k: it is %d, use 1 to %d", q.K, maxK)
	}
	var err error
	if q.Vector, err = values(r.Vector, r.VectorBase64, "vector"); err != nil {
		return q, err
	}
	if (q.Vector != nil) == (r.ID != "") {
		return q, badRequest("use one of \"vector\", \"vector_base64\" and \"id\", to say what to search for")
	}
	if r.ID != "" {
		if err := cell.CheckID(r.ID); err != nil {
			return q, err
		}
	}
	if q.Metric, err = metric(r.Metric); err != nil {
		return q, err
	}
	if len(r.Filter) > 0 && string(r.Filter) != "null" {
		f, err := filter.Parse(r.Filter)
		if err != nil {
			return q, err
		}
		q.Match = f.Match
	}
	return q, nil
}

// complete makes a query fit a set.
func (r *searchRequest) complete(q *index.Query, s *set) error {
	if q.Metric == 0 {
		q.Metric = s.rows.Metric()
	}
	what := "the vector searched for"
	if r.ID != "" {
		v, ok := s.rows.Get(r.ID)
		if !ok {
			return &datamodel.Error{Status: 404, Code: codeVectorAbsent, Message: fmt.Sprintf("set %q has no vector %q: search for one that it has, or by \"vector\"", r.Set, r.ID)}
		}
		q.Vector = v.Values
		what = fmt.Sprintf("vector %q", r.ID)
	}
	return checkVector(r.Set, q.Vector, cell.Settings{Metric: uint8(q.Metric), Dimension: s.rows.Dimension()}, what)
}

// result is a hit as it is answered. Metadata never changes in place; values may,
// once the index moves on.
func (r *searchRequest) result(h index.Hit) searchResult {
	one := searchResult{ID: h.ID, Score: score(h.Score)}
	if r.WithValues {
		one.Values = append([]float32(nil), h.Values...)
	}
	if unlessFalse(r.WithMetadata) {
		one.Metadata = h.Metadata
	}
	return one
}
