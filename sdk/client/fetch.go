package client

import (
	"context"
	"errors"
	"io"
	"net/url"
	"strings"
)

// Fetch writes to w what the node answers to a GET of a path, such as
// "/v1/raft/peers?stale=true", as it stands. It is for tools that collect what nodes say.
func (c *Client) Fetch(ctx context.Context, path string, w io.Writer) error {
	path, query, _ := strings.Cut(strings.TrimPrefix(path, "/"), "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return errors.Join(ErrInvalid, err)
	}
	r := c.system(path)
	r.query = values
	resp, _, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	if _, err = io.Copy(w, resp.Body); err != nil {
		err = transportError(err)
	}
	return errors.Join(err, resp.Body.Close())
}
