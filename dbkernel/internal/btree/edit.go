package btree

import (
	"bytes"
	"errors"
	"fmt"
)

// checkEdit refuses an edit whose key is no key or doesn't ascend.
func checkEdit(edits []Edit, i int) error {
	if err := checkKey(edits[i].Key); err != nil {
		return err
	}
	if i > 0 && bytes.Compare(edits[i-1].Key, edits[i].Key) >= 0 {
		return fmt.Errorf("btree: edit %d doesn't ascend: %x after %x", i, edits[i].Key, edits[i-1].Key)
	}
	return nil
}

// purgeByKey is Purge for engines that remove by key alone.
func purgeByKey(tx Tx, low []byte, look func(key, value []byte) PurgeStep) error {
	c, err := tx.Cursor()
	if err != nil {
		return err
	}
	defer c.Close()
	for ok := c.Seek(low); ok; ok = c.Next() {
		switch look(c.Key(), c.Value()) {
		case PurgeEnd:
			return nil
		case PurgeDrop:
			key := bytes.Clone(c.Key())
			if err := tx.Delete(key); err != nil {
				return err
			}
			if _, _, found, err := tx.Head(key); err != nil || found {
				return errors.Join(err, ErrPurge)
			}
		}
	}
	return c.Err()
}

// head is what Apply reports of an old value.
func head(value []byte) []byte {
	n := min(len(value), HeadLen)
	if n == 0 {
		return []byte{}
	}
	return value[:n:n]
}
