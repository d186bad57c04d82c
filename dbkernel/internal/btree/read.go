package btree

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/hashicorp/go-hclog"
)

// ReadTree is a tree that is only read.
type ReadTree interface {
	// Snapshot is Tree's.
	Snapshot() (Snapshot, error)
	// Stats is Tree's.
	Stats() (Stats, error)
	// Close is Tree's.
	Close() error
}

// OpenRead opens the tree in o.Dir for a look that changes no byte of its files and
// makes none. Nobody else may have it open for writing. fs.ErrNotExist where there
// is no tree; ErrNoEngine for the engine in memory.
func OpenRead(o Options) (ReadTree, error) {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.Name == "" {
		o.Name = o.Dir
	}
	var tree ReadTree
	var err error
	switch o.Engine {
	case EngineLMDB:
		tree, err = readLMDB(o)
	case EngineBolt:
		tree, err = readBolt(o)
	case EngineMemory:
		err = fmt.Errorf("%w: a tree in memory has no file", ErrNoEngine)
	default:
		err = fmt.Errorf("unknown engine %q", o.Engine)
	}
	if err != nil {
		return nil, fmt.Errorf("open tree of %s for reading: %w", o.Name, err)
	}
	return tree, nil
}

// missing is fs.ErrNotExist where a file isn't there.
func missing(path string) error {
	there, err := exists(path)
	if err == nil && !there {
		err = fmt.Errorf("%s: %w", path, fs.ErrNotExist)
	}
	return err
}

var errOnlyRead = errors.New("it was opened for reading")
