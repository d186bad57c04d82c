package datamodel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/unisondb/unisondb/sdk/internal/serve"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// Call implements the service DataModel.
func (s *server) Call(ctx context.Context, r *pluginv1.CallRequest) (*pluginv1.CallResponse, error) {
	leave, err := s.Enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	method, ok := s.methods[r.GetMethod()]
	if !ok {
		return refusal(&Error{
			Status: http.StatusNotFound, Code: "METHOD_NOT_FOUND",
			Message: fmt.Sprintf("the model has no method %q", r.GetMethod()),
		}), nil
	}
	answer, err := s.model.Call(ctx, Call{
		Namespace: r.GetNamespace(), Method: r.GetMethod(), Body: r.GetBody(), ContentType: r.GetContentType(),
		AtLeast: positionOf(r.GetAtLeast()), View: s.view(r.GetNamespace()),
	})
	var refused *Error
	switch {
	case errors.As(err, &refused):
		return refusal(refused), nil
	case err != nil:
		return nil, serve.Status(err)
	case len(answer.Operations) > 0 && !method.Writes:
		return nil, status.Errorf(codes.Internal, "the method %q isn't declared as one that writes, but answered operations: a mistake in the plugin", method.Name)
	}
	return answer.encode(), nil
}

// refusal is an error as clients get it, in the form of all of the node's.
func refusal(e *Error) *pluginv1.CallResponse {
	code := e.Status
	if code < 400 || code > 499 {
		code = http.StatusBadRequest
	}
	body, err := json.Marshal(struct {
		Error string `json:"error"`
		Code  string `json:"code"`
	}{e.Message, e.Code})
	if err != nil { // strings can't fail
		body = []byte(`{"error":"the model refused the request","code":"BAD_REQUEST"}`)
	}
	return &pluginv1.CallResponse{Status: uint32(code), ContentType: "application/json", Body: body}
}

func (a Answer) encode() *pluginv1.CallResponse {
	r := &pluginv1.CallResponse{
		Body: a.Body, ContentType: a.ContentType, Status: uint32(a.Status), Position: a.Position.encode(),
	}
	for _, o := range a.Operations {
		r.Operations = append(r.Operations, &pluginv1.ModelOperation{Key: o.Key, Value: o.Value, Delete: o.Delete})
	}
	for _, read := range a.Reads {
		r.Reads = append(r.Reads, &pluginv1.ModelRead{Key: read.Key, Version: read.Version})
	}
	return r
}

// encode leaves the zero position away.
func (p Position) encode() *pluginv1.Position {
	if p == (Position{}) {
		return nil
	}
	return &pluginv1.Position{Lineage: p.Lineage, Epoch: p.Epoch, Lsn: p.LSN}
}

func positionOf(p *pluginv1.Position) Position {
	return Position{Lineage: p.GetLineage(), Epoch: p.GetEpoch(), LSN: p.GetLsn()}
}
