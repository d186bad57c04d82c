package btree

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
)

const (
	// boltCopyBytes is about how much a transaction of a backup holds.
	boltCopyBytes = 4 << 20
	// boltCopyFill fills the pages of a copy, which is made in key order.
	boltCopyFill = 0.9
)

// Backup copies the tree into a file beside it, in which no page is free, and
// that to w.
func (t *boltTree) Backup(w io.Writer) (n int64, err error) {
	err = t.gate.visit(true, func() (err error) {
		dir, err := os.MkdirTemp(filepath.Dir(t.path), "backup-")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		path := filepath.Join(dir, boltDataFile)
		if err := t.compactTo(path); err != nil {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		n, err = io.Copy(w, f)
		return errors.Join(err, f.Close())
	})
	return n, boltErr(err)
}

// compactTo writes a compact copy. Whoever keeps it syncs it.
func (t *boltTree) compactTo(path string) (err error) {
	to, err := bolt.Open(path, 0o600, &bolt.Options{NoSync: true, NoFreelistSync: true, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return err
	}
	// bbolt's own Compact isn't used: it ends its read of the source before its
	// last commit, which still refers to the source's pages. Under a busy source
	// that commit writes garbage, or faults.
	err = guard(func() error {
		return t.db.View(func(from *bolt.Tx) error { return boltCopy(to, from) })
	})
	return errors.Join(err, to.Close())
}

func boltCopy(to *bolt.DB, from *bolt.Tx) error {
	for _, name := range [][]byte{boltBucket, boltMeta} {
		c := from.Bucket(name).Cursor()
		k, v := c.First()
		for first := true; first || k != nil; first = false {
			err := to.Update(func(tx *bolt.Tx) error {
				b, err := tx.CreateBucketIfNotExists(name)
				if err != nil {
					return err
				}
				b.FillPercent = boltCopyFill
				for size := 0; k != nil && size < boltCopyBytes; k, v = c.Next() {
					if err := b.Put(k, v); err != nil {
						return err
					}
					size += len(k) + len(v)
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}
