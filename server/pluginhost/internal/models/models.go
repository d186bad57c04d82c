// Package models is the node's side of data models: the view of a namespace that a
// model's program reads its keys through, and the calls that clients make, whose
// operations it commits.
package models

import (
	"errors"

	"github.com/unisondb/unisondb/dbkernel"
)

// What callers decide by. Errors wrap these with what happened and what to do.
var (
	// ErrModelNotFound: the model doesn't serve the namespace.
	ErrModelNotFound = errors.New("data model not found")
	// ErrMethodNotFound: the model answers no such method.
	ErrMethodNotFound = errors.New("method of the data model not found")
	// ErrNotReady: the model's program doesn't work at the moment.
	ErrNotReady = errors.New("plugin not ready")
	// ErrFailed: the model's program failed, or answered what it mustn't; nothing was
	// written.
	ErrFailed = errors.New("the data model failed")
	// ErrTimeout: the model's program took too long; nothing was written.
	ErrTimeout = errors.New("the data model took too long")
)

// Source finds a namespace that the node serves. It is asked again where a handle was
// superseded.
type Source func(name string) (*dbkernel.Namespace, error)
