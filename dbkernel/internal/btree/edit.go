package btree

import (
	"bytes"
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

// head is what Apply reports of an old value.
func head(value []byte) []byte {
	n := min(len(value), HeadLen)
	if n == 0 {
		return []byte{}
	}
	return value[:n:n]
}
