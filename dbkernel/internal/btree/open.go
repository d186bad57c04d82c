package btree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/hashicorp/go-hclog"

	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// The engines that Open knows.
const (
	EngineLMDB   = "lmdb"
	EngineBolt   = "bolt"
	EngineMemory = "memory"
)

// Options say which tree to open.
type Options struct {
	// Engine is one of the Engine constants.
	Engine string
	// Dir is the tree's directory, made if absent. Syncing its parent is the
	// caller's business.
	Dir string
	// MapSize is LMDB's map at first, in bytes; 0 means DefaultMapSize. A file
	// that is larger gets a larger map.
	MapSize int64
	// FS is where the memory engine keeps its files. The other engines reach
	// the operating system by themselves.
	FS vfs.FS
	// Logger is silent by default.
	Logger hclog.Logger
	// Name names the tree in messages and in the crash note: the namespace.
	Name string
	// Noted puts the tree into the process's crash note, if there is one.
	Noted bool
}

// DefaultMapSize is LMDB's map where Options name none, in bytes.
const DefaultMapSize = 1 << 30

// Open opens the tree in o.Dir and makes it if it isn't there: the files of a new
// tree, and their names in Dir, are synced when it returns.
func Open(o Options) (Tree, error) {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.MapSize <= 0 {
		o.MapSize = DefaultMapSize
	}
	if o.Name == "" {
		o.Name = o.Dir
	}
	if o.Dir == "" {
		return nil, errors.New("open tree: a directory is required")
	}
	var tree Tree
	var err error
	switch o.Engine {
	case EngineLMDB:
		tree, err = openLMDB(o)
	case EngineBolt:
		tree, err = openBolt(o)
	case EngineMemory:
		tree, err = openMemory(o)
	default:
		err = fmt.Errorf("unknown engine %q: use %q or %q", o.Engine, EngineLMDB, EngineBolt)
	}
	if err != nil {
		return nil, fmt.Errorf("open tree of %s: %w", o.Name, err)
	}
	return tree, nil
}

// advise adds to an error of the operating system what to do about it.
func advise(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: let the user that runs the process read and write %s", err, path)
	case errors.Is(err, ErrDamaged):
		return fmt.Errorf("%w; restore %s from a backup, or move it away and let it be rebuilt from a peer", err, path)
	case errors.Is(err, ErrFormat):
		return fmt.Errorf("%w; use the version that wrote %s, or set the engine that it belongs to", err, path)
	case errors.Is(err, ErrOpen):
		return fmt.Errorf("%w; stop the other process that uses %s", err, path)
	default:
		return err
	}
}

// exists reports whether path names a file.
func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// syncPath makes a file's content, or a directory's entries, durable.
func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// syncDead syncs a file and its name. A process that was killed may have left its
// last commit where every reader sees it and a power cut takes it away; what
// this process goes by must stay.
func syncDead(path, dir string) error {
	return errors.Join(syncPath(path), syncPath(dir))
}
