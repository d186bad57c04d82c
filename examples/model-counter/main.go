// The model-counter counts: named numbers that requests add to. It is the
// smallest data model that loses no update.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/unisondb/unisondb/sdk/datamodel"
	"github.com/unisondb/unisondb/sdk/plugin"
)

func main() { datamodel.Serve(program()) }

// program is all that there is to say about the data model.
func program() datamodel.Program {
	return datamodel.Program{
		Info:   plugin.Info{Name: "counter", Version: "1.0.0", Description: "named counters"},
		Config: config{Limit: 1 << 50},
		Model:  &counter{},
		Methods: []datamodel.Method{
			{Name: "add", Writes: true, Description: `{"name":"n","by":1} adds and answers the sum`},
			{Name: "sum", Description: `{"name":"n"} answers the sum`},
		},
	}
}

// config is the configuration with its defaults.
type config struct {
	Limit int64 `config:"limit" min:"1" doc:"the largest sum"`
}

// counter is the data model.
type counter struct{ config config }

// Configure implements datamodel.Model.
func (m *counter) Configure(_ context.Context, c plugin.Config, _ datamodel.Views) error {
	m.config = config{Limit: 1 << 50}
	return c.Decode(&m.config)
}

// Close implements datamodel.Model.
func (m *counter) Close(context.Context) error { return nil }

// request is the body of both methods, sum their answer.
type request struct {
	Name string `json:"name"`
	By   int64  `json:"by"`
}

type sum struct {
	Name string `json:"name"`
	Sum  int64  `json:"sum"`
}

// Call implements datamodel.Model.
func (m *counter) Call(ctx context.Context, c datamodel.Call) (datamodel.Answer, error) {
	var r request
	if err := json.Unmarshal(c.Body, &r); err != nil {
		return datamodel.Answer{}, bad("the body is no JSON: " + err.Error())
	}
	if r.Name == "" || len(r.Name) > 100 {
		return datamodel.Answer{}, bad("name a counter, with at most 100 bytes")
	}
	items, position, err := c.View.Get(ctx, []byte(r.Name))
	if err != nil {
		return datamodel.Answer{}, err
	}
	old, err := value(items[0])
	if err != nil {
		return datamodel.Answer{}, err
	}
	if c.Method == "sum" {
		body, err := json.Marshal(sum{r.Name, old})
		return datamodel.Answer{Body: body, Position: position}, err
	}
	if r.By < -m.config.Limit || r.By > m.config.Limit || old+r.By < -m.config.Limit || old+r.By > m.config.Limit {
		return datamodel.Answer{}, bad(fmt.Sprintf("a sum has at most the size %d: add less", m.config.Limit))
	}
	body, err := json.Marshal(sum{r.Name, old + r.By})
	return datamodel.Answer{
		Body:       body,
		Operations: []datamodel.Operation{{Key: items[0].Key, Value: strconv.AppendInt(nil, old+r.By, 10)}},
		// Where another call adds before this one is committed, the node calls again.
		Reads: []datamodel.Read{{Key: items[0].Key, Version: items[0].Version}},
	}, err
}

// value is a counter's number; 0 where it isn't there yet.
func value(item datamodel.Item) (int64, error) {
	if item.Version == "" {
		return 0, nil
	}
	return strconv.ParseInt(string(item.Value), 10, 64)
}

func bad(message string) error {
	return &datamodel.Error{Status: http.StatusBadRequest, Code: "BAD_REQUEST", Message: message}
}
