package delivery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// CellCursor keeps the cursor in a reserved cell of the namespace, under the
// notifier's name: only the owner writes it, it replicates, and a new owner goes on
// from it.
func CellCursor(source Source, namespace, notifier string) CursorStore {
	return cellCursor{source, namespace, notifier}
}

type cellCursor struct {
	source          Source
	namespace, name string
}

func (s cellCursor) Load(context.Context) (Cursor, bool, error) {
	n, err := s.source.Namespace(s.namespace)
	if err != nil {
		return Cursor{}, false, err
	}
	b, found, err := n.Cursor(s.name)
	if err != nil || !found {
		return Cursor{}, false, err
	}
	c, err := decodeCursor(b)
	return c, err == nil, err
}

func (s cellCursor) Save(ctx context.Context, c Cursor) error {
	n, err := s.source.Namespace(s.namespace)
	if err != nil {
		return err
	}
	if st := n.Status(); st.Lineage != c.Lineage {
		return fmt.Errorf("%w: the cursor is of lineage %s, the namespace of %s", dbkernel.ErrSuperseded, c.Lineage, st.Lineage)
	}
	b, err := c.encode()
	if err != nil {
		return err
	}
	_, err = n.PutCursor(ctx, s.name, b)
	return err
}

// FileCursor keeps the cursor in a file of this node, made with its directory by
// the first Save. fsys nil is the operating system's.
func FileCursor(fsys vfs.FS, path string) CursorStore {
	if fsys == nil {
		fsys = vfs.OS()
	}
	return fileCursor{fsys, path}
}

type fileCursor struct {
	fs   vfs.FS
	path string
}

func (s fileCursor) Load(context.Context) (Cursor, bool, error) {
	b, err := readFile(s.fs, s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return Cursor{}, false, nil
	}
	if err != nil {
		return Cursor{}, false, err
	}
	c, err := decodeCursor(bytes.TrimSuffix(b, []byte("\n")))
	if err != nil {
		err = fmt.Errorf("%s: %w", s.path, err)
	}
	return c, err == nil, err
}

func (s fileCursor) Save(_ context.Context, c Cursor) error {
	b, err := c.encode()
	if err != nil {
		return err
	}
	if err := makeDir(s.fs, filepath.Dir(s.path)); err != nil {
		return err
	}
	return replaceFile(s.fs, s.path, append(b, '\n'))
}

// CursorPath is where a notifier's cursor in a namespace lies below dir, the node's
// folder notifiers.
func CursorPath(dir, notifier, namespace string) string {
	return filepath.Join(dir, folderOf(notifier), namespace+".json")
}

// DeadLettersPath is where a notifier's dead letters lie below dir.
func DeadLettersPath(dir, notifier string) string {
	return filepath.Join(dir, folderOf(notifier), "dead-letters.jsonl")
}

// folderOf is the name of a notifier's folder: a notifier may be called what a file
// may not, such as "orders/webhook" or "..".
func folderOf(notifier string) string {
	name := url.PathEscape(notifier)
	if name == "" || name[0] == '.' {
		name = "%2E" + name[min(1, len(name)):]
	}
	return name
}
