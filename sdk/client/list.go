package client

import (
	"context"
	"iter"
	"strconv"
)

// maxPage is how many items the server puts on a page at most.
const maxPage = 1000

// Page is a part of a list. Cursor asks for the next one; it is empty at the end.
// All items of a page are of one position, those of different pages may not be.
type Page[T any] struct {
	Items    []T
	Cursor   string
	Position Position
}

// ListOptions narrow a list of keys, rows or objects, which is in the order of
// the bytes of the keys. The zero value lists everything.
type ListOptions struct {
	Prefix []byte
	// Start is the lowest key, inclusive; End the highest one, exclusive.
	Start []byte
	End   []byte
	// Limit is how many items at most: of a page the default is 100 and the
	// most 1,000; a whole list has no bound by default.
	Limit int
	// Reverse lists the highest key first.
	Reverse bool
	// KeysOnly leaves values out (key-value only).
	KeysOnly bool
	// Columns leaves other columns out (rows only).
	Columns []string
}

// apply writes the options into a query. Every page of a list has the same
// query, since a cursor is bound to it.
func (l ListOptions) apply(o *callOptions, cursor string) {
	setBytes := func(name string, value []byte) {
		if len(value) > 0 {
			o.query.Set(name, string(value))
		}
	}
	setBytes("prefix", l.Prefix)
	setBytes("start", l.Start)
	setBytes("end", l.End)
	if l.Limit > 0 {
		o.query.Set("limit", strconv.Itoa(l.Limit))
	}
	if l.Reverse {
		o.query.Set("reverse", "true")
	}
	if l.KeysOnly {
		o.query.Set("keys_only", "true")
	}
	setColumns(o, l.Columns)
	if cursor != "" {
		o.query.Set("cursor", cursor)
	}
}

// page is a page's limit for a whole list.
func (l ListOptions) page() ListOptions {
	if l.Limit <= 0 || l.Limit > maxPage {
		l.Limit = maxPage
	}
	return l
}

type pageFunc[T any] func(ctx context.Context, l ListOptions, cursor string, opts ...ReadOption) (Page[T], error)

// follow goes through all pages of a list, up to its limit.
func follow[T any](ctx context.Context, l ListOptions, opts []ReadOption, next pageFunc[T]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		left := l.Limit
		for cursor := ""; ; {
			page, err := next(ctx, l.page(), cursor, opts...)
			if err != nil {
				yield(none, err)
				return
			}
			for _, item := range page.Items {
				if !yield(item, nil) {
					return
				}
				if left--; left == 0 {
					return
				}
			}
			if cursor = page.Cursor; cursor == "" {
				return
			}
		}
	}
}
