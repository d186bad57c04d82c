package client

import (
	"context"
	"iter"
	"net/http"
)

// ListPage reads one page of keys. The cursor is that of the page before, empty
// for the first one.
func (k KV) ListPage(ctx context.Context, l ListOptions, cursor string, opts ...ReadOption) (Page[Item], error) {
	o := readOptions(opts)
	l.apply(&o, cursor)
	var answer struct {
		Items  []jsonItem `json:"items"`
		Cursor string     `json:"cursor"`
	}
	p, err := k.c.call(ctx, k.c.data(http.MethodGet, "kv", o).asRead(), &answer)
	if err != nil {
		return Page[Item]{}, err
	}
	page := Page[Item]{Items: make([]Item, len(answer.Items)), Cursor: answer.Cursor, Position: p}
	for i, it := range answer.Items {
		page.Items[i] = it.item()
	}
	return page, nil
}

// List goes through keys, page by page as they are consumed. An error ends it.
func (k KV) List(ctx context.Context, l ListOptions, opts ...ReadOption) iter.Seq2[Item, error] {
	return follow(ctx, l, opts, k.ListPage)
}
