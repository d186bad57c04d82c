package model

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/unisondb/unisondb/sdk/datamodel"

	"github.com/unisondb/unisondb/plugins/model/vector/internal/cell"
	"github.com/unisondb/unisondb/plugins/model/vector/internal/index"
)

// Limits of requests.
const (
	maxUpsert  = 1000 // vectors
	maxIDs     = 500  // of get and delete
	maxBytes   = 24 << 20
	maxK       = 1000
	defaultK   = 10
	maxDropped = 10_000 // vectors removed by one call that deletes a set
)

// decode reads a request's body: a JSON object without unknown members.
func decode(c datamodel.Call, into any) error {
	if !utf8.Valid(c.Body) {
		return badRequest("the body is no UTF-8: send JSON")
	}
	d := json.NewDecoder(bytes.NewReader(c.Body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return badRequest("body of %s: %s", c.Method, explain(err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return badRequest("body of %s: something follows the JSON object, remove it", c.Method)
	}
	return nil
}

// explain says what is wrong with JSON without speaking of Go.
func explain(err error) string {
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.Is(err, io.EOF):
		return "it is empty, send a JSON object"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "the JSON ends too early, send a whole object"
	case errors.As(err, &wrong) && wrong.Field == "":
		return fmt.Sprintf("it is a JSON %s, send an object", wrong.Value)
	case errors.As(err, &wrong):
		return fmt.Sprintf("%q is or holds the %s, use %s", wrong.Field, wrong.Value, kindOf(wrong.Type))
	}
	return strings.TrimPrefix(err.Error(), "json: ")
}

func kindOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number"
	case reflect.Float32:
		return "numbers that a 32-bit float holds"
	case reflect.Slice:
		return "a list"
	default:
		return "an object"
	}
}

// values are a vector in a request: a list of numbers, or base64 of float32,
// little-endian. nil: there is none.
func values(list []float32, encoded string, name string) ([]float32, error) {
	if encoded == "" {
		if len(list) == 0 && list != nil {
			return nil, fmt.Errorf("%s: it is empty, use 1 to %d numbers", name, cell.MaxDimension)
		}
		return list, checkFinite(list, name)
	}
	if list != nil {
		return nil, fmt.Errorf("%s and %s_base64: use one of them", name, name)
	}
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, fmt.Errorf("%s_base64: %w, use standard base64", name, err)
	}
	if len(raw)%4 != 0 || len(raw) == 0 {
		return nil, fmt.Errorf("%s_base64: it decodes to %d bytes, use 4 for each value: float32, little-endian", name, len(raw))
	}
	list = cell.Floats(raw)
	return list, checkFinite(list, name+"_base64")
}

func checkFinite(list []float32, name string) error {
	if len(list) > cell.MaxDimension {
		return fmt.Errorf("%s: it has %d values, use 1 to %d", name, len(list), cell.MaxDimension)
	}
	for i, v := range list {
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return fmt.Errorf("%s: value %d is %v, use finite numbers", name, i, v)
		}
	}
	return nil
}

// checkVector says what is wrong with a vector for a set.
func checkVector(set string, list []float32, s cell.Settings, what string) error {
	if len(list) != s.Dimension {
		return &datamodel.Error{Status: 400, Code: codeDimension, Message: fmt.Sprintf("%s has %d values, set %q has vectors of %d: use the model that made the set's vectors, or another set", what, len(list), set, s.Dimension)}
	}
	if index.Metric(s.Metric) == index.Cosine && isZero(list) {
		return badRequest("%s is all zeros, which has no direction to compare under the metric cosine: leave it out, or use a set with the metric l2 or dot", what)
	}
	return nil
}

func isZero(list []float32) bool {
	for _, v := range list {
		if v != 0 {
			return false
		}
	}
	return true
}

// metric reads a metric's name; none is the zero value.
func metric(name string) (index.Metric, error) {
	if name == "" {
		return 0, nil
	}
	m, ok := index.ParseMetric(name)
	if !ok {
		return 0, badRequest("metric %.40q: use \"cosine\", \"dot\" or \"l2\"", name)
	}
	return m, nil
}

// checkIDs says what is wrong with a list of ids.
func checkIDs(ids []string) error {
	if len(ids) == 0 || len(ids) > maxIDs {
		return fmt.Errorf("ids: there are %d, use 1 to %d at once", len(ids), maxIDs)
	}
	for i, id := range ids {
		if err := cell.CheckID(id); err != nil {
			return fmt.Errorf("ids, number %d: %w", i, err)
		}
	}
	return nil
}
