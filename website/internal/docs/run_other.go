//go:build !linux

package docs

import (
	"context"
	"errors"
)

// ErrIsolation says that the machine makes no namespaces for us.
var ErrIsolation = errors.New("pages run in network and PID namespaces of their own, which Linux has")

// Run runs all that a page shows.
func Run(context.Context, *Page, string, []string) error { return ErrIsolation }
