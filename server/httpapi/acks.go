package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
)

// maxAcks bounds the followers that a write may wait for.
const maxAcks = 1000

// followers is how many followers the request asks to have what it writes.
func (c *call) followers() (int, error) {
	s, ok := c.param("acks")
	if !ok {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n > maxAcks {
		return 0, badRequest(CodeBadRequest, "acks=%q is not a number of followers: use 0 to %d", s, maxAcks)
	}
	return int(n), nil
}

// committed is a write that was committed, and what it answers.
type committed struct {
	position dbkernel.Position
	answer   func() error
}

// wrote notes a write that was committed at p. It is answered once the handler
// has returned and with it has let go of the body: the wait for followers holds none.
func (c *call) wrote(p dbkernel.Position, answer any) error {
	c.position(p)
	c.written = &committed{p, func() error { return c.json(answer) }}
	return nil
}

// answerWrite answers a write, if the handler has made one, when as many followers
// have it as the request asks for.
func (c *call) answerWrite() error {
	w := c.written
	if w == nil {
		return nil
	}
	if c.acks > 0 {
		c.releaseBody()
		if err := c.waitReplicated(w.position); err != nil {
			return err
		}
	}
	return w.answer()
}

// waitReplicated waits for followers. However it ends the write is durable here,
// so that its error is always that one which says so.
func (c *call) waitReplicated(p dbkernel.Position) error {
	ctx, cancel := context.WithTimeout(c.Context(), c.wait)
	defer cancel()
	defer context.AfterFunc(c.api.draining, cancel)()
	have, err := c.api.node.WaitReplicated(ctx, c.namespace, p, c.acks)
	if err == nil {
		return nil
	}
	return notReplicated(p, have, c.acks, c.whyNotReplicated(ctx, err))
}

// whyNotReplicated says what ended the wait for followers.
func (c *call) whyNotReplicated(ctx context.Context, err error) string {
	switch {
	case c.api.isDraining():
		c.w.Header().Set("Connection", "close")
		return "the node is shutting down"
	case ctx.Err() != nil:
		return fmt.Sprintf("%v have passed", c.wait.Round(time.Millisecond))
	}
	return err.Error()
}

func notReplicated(p dbkernel.Position, have, want int, why string) *Error {
	return &Error{Status: http.StatusGatewayTimeout, Code: CodeNotReplicated, Message: fmt.Sprintf(
		"the write is durable on this node, at position %s, and %d of the %d followers asked for report it durable: %s. "+
			"It stays and goes on to its followers, so don't write it again: wait for the position on a follower with %s, or ask for fewer acks",
		p, have, want, why, HeaderAtLeast)}
}
