package dbkernel

import (
	"errors"
	"math"
	"slices"

	"github.com/unisondb/unisondb/dbkernel/internal/btree"
	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/internal/memtable"
)

// View is a read view: everything it answers holds at one LSN. It must be
// closed, and soon: it keeps pages of the B+tree from being used again. Not for
// concurrent use.
type View struct {
	n    *Namespace
	lsn  uint64
	mems []*mem
	snap btree.Snapshot
	now  int64 // what is due by then is hidden
}

// View opens a view of the newest state that may be read here.
func (n *Namespace) View() (*View, error) {
	if n.staged {
		return nil, n.notReady()
	}
	if err := n.acquire(); err != nil {
		return nil, err
	}
	v, err := n.view()
	if err != nil {
		n.release()
		return nil, err
	}
	return v, nil
}

// CommittedView opens a view of what the records say up to the commit LSN, for what
// leaves the node or follows the log: readers here see more with sync_interval, and
// less of what is due by the clock.
func (n *Namespace) CommittedView() (*View, error) {
	v, err := n.View()
	if err != nil {
		return nil, err
	}
	v.asOfCommit()
	return v, nil
}

func (v *View) asOfCommit() {
	v.lsn = min(v.lsn, v.n.commit.Load())
	v.now = math.MinInt64
}

// view takes the B+tree's read transaction, then the LSN, then the list of
// memtables. In this order the LSN is not below anything that the tree contains,
// and the list holds everything up to the LSN that the tree doesn't; unless a
// flush came in between, which shows in the list's base: then all is taken again.
func (n *Namespace) view() (*View, error) {
	for {
		before := n.mems.Load().base
		snap, err := n.tree.Snapshot()
		if err != nil {
			return nil, err
		}
		v := &View{n: n, snap: snap, now: n.db.opts.Clock().UnixNano(), lsn: n.readLSN()}
		list := n.mems.Load()
		if list.base == before {
			v.mems = list.tables
			return v, nil
		}
		snap.Release()
	}
}

// Close ends the view. It may be called twice.
func (v *View) Close() {
	if v.snap != nil {
		v.snap.Release()
		v.snap = nil
		v.n.release()
	}
}

// Position is where the view stands.
func (v *View) Position() Position { return v.n.positionAt(v.lsn) }

// cell reads a cell as of the view's LSN: the newest memtable that knows it
// decides, else the tree.
func (v *View) cell(key []byte) (codec.Cell, bool, error) {
	return v.resolve(key, func() ([]byte, bool, error) { return v.snap.Get(key) })
}

// resolve finds what a cell is at the view's LSN. inTree is asked only if no
// memtable decides.
func (v *View) resolve(key []byte, inTree func() ([]byte, bool, error)) (codec.Cell, bool, error) {
	c, found, err := v.resolveAll(key, inTree)
	if found && c.Expiry != 0 && c.Expiry <= v.now {
		return codec.Cell{}, false, err
	}
	return c, found, err
}

// resolveAll is resolve for cells that are due, too.
func (v *View) resolveAll(key []byte, inTree func() ([]byte, bool, error)) (codec.Cell, bool, error) {
	var expired []codec.Version // versions that a newer expire operation removes
	for _, m := range v.mems {
		var dropped uint64
		if prefix := dropPrefix(m, key); prefix != nil {
			if d := m.Get(prefix, v.lsn); d != nil {
				dropped = d.LSN
			}
		}
		for ver := m.Get(key, v.lsn); ver != nil; ver = ver.Older() {
			if ver.LSN < dropped {
				return codec.Cell{}, false, nil
			}
			switch ver.Kind {
			case memtable.Put:
				c := codec.Cell{Version: ver.Version, Expiry: ver.Expiry, Value: ver.Value}
				return c, !slices.Contains(expired, ver.Version), nil
			case memtable.Expire:
				expired = append(expired, ver.Target)
			default:
				return codec.Cell{}, false, nil
			}
		}
		if dropped != 0 {
			return codec.Cell{}, false, nil
		}
	}
	b, found, err := inTree()
	if err != nil || !found {
		return codec.Cell{}, false, v.n.treeError(err)
	}
	c, err := codec.DecodeCell(key, b)
	if err != nil {
		return codec.Cell{}, false, v.n.damagedCell(key, err)
	}
	return c, !slices.Contains(expired, c.Version), nil
}

// Get reads a key. ErrNotFound. The value's bytes are the caller's to read
// after the view is closed, but not to change.
func (v *View) Get(key []byte) (Value, error) {
	if err := checkKey(key); err != nil {
		return Value{}, err
	}
	c, found, err := v.cell(codec.KVKey(key))
	if err != nil {
		return Value{}, err
	}
	if !found {
		return Value{}, ErrNotFound
	}
	return valueOf(c), nil
}

func valueOf(c codec.Cell) Value {
	return Value{Data: c.Value, Version: versionOf(c.Version), ExpiresAt: timeOf(c.Expiry)}
}

// GetRow reads a row's columns, or those named. ErrNotFound where the row has
// no column at all; one that has none of those named is found and empty.
func (v *View) GetRow(row []byte, columns []string) (Row, error) {
	if err := checkKey(row); err != nil {
		return Row{}, err
	}
	prefix := codec.RowPrefix(row)
	rows := rowReader{columns: columns}
	it := v.iterate(keyRange{prefix, codec.PrefixEnd(prefix)}, false)
	defer it.close()
	for it.next() {
		if err := rows.add(it.key, it.cell); err != nil {
			return Row{}, err
		}
	}
	if it.err != nil {
		return Row{}, it.err
	}
	if rows.cells == 0 {
		return Row{}, ErrNotFound
	}
	return rows.row(), nil
}

// StatObject describes a large object. ErrNotFound.
func (v *View) StatObject(key []byte) (Object, error) {
	o, _, err := v.object(key)
	return o, err
}

func (v *View) object(key []byte) (Object, codec.Manifest, error) {
	if err := checkKey(key); err != nil {
		return Object{}, codec.Manifest{}, err
	}
	c, found, err := v.cell(codec.ManifestKey(key))
	if err != nil {
		return Object{}, codec.Manifest{}, err
	}
	if !found {
		return Object{}, codec.Manifest{}, ErrNotFound
	}
	return objectOf(key, c)
}

func objectOf(key []byte, c codec.Cell) (Object, codec.Manifest, error) {
	m, err := codec.DecodeManifest(c.Value)
	if err != nil {
		return Object{}, m, errors.Join(ErrDamaged, err)
	}
	return Object{
		Key: key, Size: int64(m.Size), CRC32: m.CRC32,
		Version: versionOf(c.Version), ExpiresAt: timeOf(c.Expiry),
	}, m, nil
}

// Get reads one key at the newest state that may be read here, and says which.
// It answers what a View of its own would, without opening one where a memtable
// decides. ErrNotFound.
func (n *Namespace) Get(key []byte) (Value, Position, error) {
	if err := checkKey(key); err != nil {
		return Value{}, Position{}, err
	}
	if n.staged {
		return Value{}, Position{}, n.notReady()
	}
	if err := n.acquire(); err != nil {
		return Value{}, Position{}, err
	}
	defer n.release()
	v := View{n: n, lsn: n.readLSN(), now: n.db.opts.Clock().UnixNano()}
	v.mems = n.mems.Load().tables
	cell, found, err := v.resolve(codec.KVKey(key), func() ([]byte, bool, error) { return nil, false, errInTree })
	if err != nil {
		full, err := n.view()
		if err != nil {
			return Value{}, Position{}, err
		}
		defer full.snap.Release()
		value, err := full.Get(key)
		return value, full.Position(), err
	}
	if !found {
		return Value{}, v.Position(), ErrNotFound
	}
	return valueOf(cell), v.Position(), nil
}

// errInTree stops a look-up that no memtable decided.
var errInTree = errors.New("the tree decides")
