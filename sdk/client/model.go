package client

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// ModelCall is what a data model is called with.
type ModelCall struct {
	Body        []byte
	ContentType string // default: application/json
	// AtLeast is a position that the answer must include; zero: the session's, if there
	// is one.
	AtLeast Position
	// Acks makes a call that writes return only when that many direct followers report
	// it durable.
	Acks int
	// Wait is how long the node may wait for AtLeast or Acks; 0: as long as it likes to.
	Wait time.Duration
}

// ModelAnswer is a data model's answer.
type ModelAnswer struct {
	Body        []byte
	ContentType string
	// Position is that of the record that the call made, or else of the state that it
	// read; zero where the node doesn't say.
	Position Position
}

// CallModel calls a method of a data model on the client's namespace. What body and
// answer are is the model's affair. One that the namespace hasn't got is
// [ErrModelNotFound], one that is being started or is broken [ErrPluginUnavailable].
func (c *Client) CallModel(ctx context.Context, model, method string, call ModelCall) (ModelAnswer, error) {
	if model == "" || method == "" {
		return ModelAnswer{}, fmt.Errorf("%w: name the data model and its method", ErrInvalid)
	}
	o := newCallOptions()
	if !call.AtLeast.IsZero() {
		AtLeast(call.AtLeast).applyRead(&o)
	}
	if call.Acks > 0 {
		Acks(call.Acks).applyWrite(&o)
	}
	if call.Wait > 0 {
		Wait(call.Wait).applyRead(&o)
	}
	r := c.data(http.MethodPost, "model/"+escape([]byte(model))+"/"+escape([]byte(method)), o).asRead()
	r.header.Set("Content-Type", cmp.Or(call.ContentType, contentJSON))
	r.body, r.length, r.any2xx = bytes.NewReader(call.Body), int64(len(call.Body)), true
	resp, p, err := c.send(ctx, r)
	if err != nil {
		return ModelAnswer{}, err
	}
	defer closeBody(resp)
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return ModelAnswer{}, transportError(err)
	}
	return ModelAnswer{Body: body, ContentType: resp.Header.Get("Content-Type"), Position: p}, nil
}
