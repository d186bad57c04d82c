package client

import (
	"context"
	"net/http"
	"slices"
	"time"
)

// Txn is a whole transaction in one round trip: if all conditions hold, Then is
// done, otherwise Else. Either way everything that is done is of one position. A relayer
// answers one that only reads: keys and rows of one state of its own.
type Txn struct {
	If   []Condition
	Then []Op
	Else []Op
	// AtLeast is a position that what it reads must include; zero: the session's, if
	// there is one.
	AtLeast Position
}

// Condition is a condition on a key or row: one of [KeyVersion], [KeyExists],
// [KeyValueIs], [RowVersion] and [RowExists].
type Condition struct{ json jsonCondition }

type jsonCondition struct {
	jsonKey
	jsonRowKey
	Version string  `json:"version,omitempty"`
	Exists  *bool   `json:"exists,omitempty"`
	Value   *[]byte `json:"value,omitempty"`
}

// KeyVersion holds where the key has the version.
func KeyVersion(key []byte, version string) Condition {
	return Condition{jsonCondition{jsonKey: newJSONKey(key), Version: version}}
}

// KeyExists holds where the key exists, or doesn't.
func KeyExists(key []byte, exists bool) Condition {
	return Condition{jsonCondition{jsonKey: newJSONKey(key), Exists: &exists}}
}

// KeyValueIs holds where the key has the value.
func KeyValueIs(key, value []byte) Condition {
	value = orEmpty(value)
	return Condition{jsonCondition{jsonKey: newJSONKey(key), Value: &value}}
}

// RowVersion holds where the row has the version.
func RowVersion(key []byte, version string) Condition {
	return Condition{jsonCondition{jsonRowKey: newJSONRowKey(key), Version: version}}
}

// RowExists holds where the row exists, or doesn't.
func RowExists(key []byte, exists bool) Condition {
	return Condition{jsonCondition{jsonRowKey: newJSONRowKey(key), Exists: &exists}}
}

// Op is an operation of a [Txn].
type Op struct{ json jsonOp }

type jsonOp struct {
	Op   string `json:"op"`
	Type string `json:"type"`
	jsonKey
	jsonRowKey
	Value   *[]byte           `json:"value,omitempty"`
	Columns map[string][]byte `json:"columns,omitempty"`
	TTL     string            `json:"ttl,omitempty"`
}

func kvOp(op string, key []byte) jsonOp {
	return jsonOp{Op: op, Type: "kv", jsonKey: newJSONKey(key)}
}

func rowOp(op string, key []byte) jsonOp {
	return jsonOp{Op: op, Type: "row", jsonRowKey: newJSONRowKey(key)}
}

// OpGet reads a key.
func OpGet(key []byte) Op { return Op{kvOp("get", key)} }

// OpPut writes a value.
func OpPut(key, value []byte) Op {
	op := kvOp("put", key)
	value = orEmpty(value)
	op.Value = &value
	return Op{op}
}

// OpDelete removes a key.
func OpDelete(key []byte) Op { return Op{kvOp("delete", key)} }

// OpGetRow reads a row.
func OpGetRow(key []byte) Op { return Op{rowOp("get", key)} }

// OpPutRow writes columns of a row.
func OpPutRow(key []byte, columns map[string][]byte) Op {
	op := rowOp("put", key)
	op.Columns = orEmptyColumns(columns)
	return Op{op}
}

// OpDeleteRow removes a row.
func OpDeleteRow(key []byte) Op { return Op{rowOp("delete", key)} }

// WithTTL lets what a put writes expire.
func (o Op) WithTTL(ttl time.Duration) Op {
	o.json.TTL = ttl.String()
	return o
}

// TxnResult is what was done.
type TxnResult struct {
	// Succeeded says that all conditions held, and Then was done.
	Succeeded bool
	// Results has one entry for each operation done, in their order.
	Results  []OpResult
	Position Position
}

// OpResult is the result of one operation. What a read found is in Value, or in
// Columns for a row.
type OpResult struct {
	Found     bool
	Value     []byte
	Columns   map[string][]byte
	Version   string
	ExpiresAt time.Time
}

// Txn runs a transaction in one round trip.
func (c *Client) Txn(ctx context.Context, txn Txn, opts ...WriteOption) (TxnResult, error) {
	body := struct {
		If   []jsonCondition `json:"if,omitempty"`
		Then []jsonOp        `json:"then,omitempty"`
		Else []jsonOp        `json:"else,omitempty"`
	}{Then: jsonOps(txn.Then), Else: jsonOps(txn.Else)}
	for _, condition := range txn.If {
		body.If = append(body.If, condition.json)
	}
	o := writeOptions(opts)
	if !txn.AtLeast.IsZero() {
		AtLeast(txn.AtLeast).applyRead(&o)
	}
	r, err := c.data(http.MethodPost, "tx", o).withJSON(body)
	if err != nil {
		return TxnResult{}, err
	}
	r.read = txn.reads()
	var answer struct {
		Succeeded bool `json:"succeeded"`
		Results   []struct {
			Found     bool              `json:"found"`
			Value     []byte            `json:"value"`
			Columns   map[string][]byte `json:"columns"`
			Version   string            `json:"version"`
			ExpiresAt time.Time         `json:"expires_at"`
		} `json:"results"`
	}
	p, err := c.call(ctx, r, &answer)
	if err != nil {
		return TxnResult{}, err
	}
	result := TxnResult{Succeeded: answer.Succeeded, Position: p, Results: make([]OpResult, len(answer.Results))}
	for i, r := range answer.Results {
		result.Results[i] = OpResult(r)
	}
	return result, nil
}

// reads says whether what is answered, or done, depends on what the node has.
func (t Txn) reads() bool {
	isGet := func(op Op) bool { return op.json.Op == "get" }
	return len(t.If) > 0 || slices.ContainsFunc(t.Then, isGet) || slices.ContainsFunc(t.Else, isGet)
}

func jsonOps(ops []Op) []jsonOp {
	var out []jsonOp
	for _, op := range ops {
		out = append(out, op.json)
	}
	return out
}
