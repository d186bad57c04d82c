package httpapi

import (
	"cmp"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/server/pluginhost"
)

// maxModelBody bounds the body of a call of a data model. It is what one batch may have.
const maxModelBody = dbkernel.MaxBatchLen

// callModel has a data model answer the request. What the body and the answer
// are is the model's affair.
func (c *call) callModel() error {
	if err := c.noTransaction("calls of a data model are no part of a transaction: leave it out"); err != nil {
		return err
	}
	if len(c.Header.Values("If-Match"))+len(c.Header.Values("If-None-Match")) > 0 {
		return badRequest(CodeBadRequest, "If-Match and If-None-Match are for keys, rows and objects: a data model has conditions of its own, if any")
	}
	body, err := c.readBody(maxModelBody, tooLarge("the body is longer than %d bytes: send less at once", maxModelBody))
	if err != nil {
		return err
	}
	r := pluginhost.Request{Namespace: c.namespace, Model: c.model, Method: c.modelMethod, Body: body, ContentType: c.Header.Get("Content-Type")}
	if s := strings.TrimSpace(c.Header.Get(HeaderAtLeast)); s != "" {
		if r.AtLeast, err = dbkernel.ParsePosition(s); err != nil {
			return badRequest(CodeInvalidPosition, "%s: %v", HeaderAtLeast, err)
		}
	}
	a, err := c.api.plugins.Call(c.Context(), r)
	if c.atOwner && (errors.Is(err, dbkernel.ErrReadOnly) || errors.Is(err, pluginhost.ErrModelNotFound)) {
		return c.forward(true, keep(body))
	}
	if err != nil {
		return err
	}
	if a.Wrote {
		c.position(a.Position)
		c.written = &committed{a.Position, func() error { return c.answerModel(a) }}
		return nil
	}
	if err := c.gather(len(a.Body)); err != nil {
		return err
	}
	if a.Position != (dbkernel.Position{}) {
		c.position(a.Position)
	}
	return c.answerModel(a)
}

// answerModel passes a data model's answer on.
func (c *call) answerModel(a pluginhost.Answer) error {
	h := c.w.Header()
	h.Set("Content-Type", cmp.Or(a.ContentType, "application/json"))
	h.Set("Content-Length", strconv.Itoa(len(a.Body)))
	c.w.WriteHeader(cmp.Or(a.Status, http.StatusOK))
	_, _ = c.w.Write(a.Body) // an answer that can't be sent is the client's loss
	return nil
}
