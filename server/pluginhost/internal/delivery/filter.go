package delivery

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/unisondb/unisondb/dbkernel"
)

// Filter says which changes a notifier gets. Empty fields let everything pass. A
// reset always passes: it is about all that was derived from what passed before.
type Filter struct {
	// Prefix is that of the key; of whatever happens to a row, its deletion
	// included, that of the row key.
	Prefix     []byte
	Operations []string // put, delete, delete_row, expire
	EntryTypes []string // kv, row, lob or a data model's name
}

// operations are the words that a filter may name.
var operations = []string{
	string(dbkernel.ChangePut), string(dbkernel.ChangeDelete), string(dbkernel.ChangeDeleteRow), string(dbkernel.ChangeExpire),
}

func (f Filter) validate() error {
	for _, op := range f.Operations {
		if !slices.Contains(operations, op) {
			return fmt.Errorf("unknown operation %q in a filter: use %s", op, strings.Join(operations, ", "))
		}
	}
	return nil
}

// passes reports whether the notifier gets the change.
func (f *Filter) passes(c dbkernel.Change) bool {
	return bytes.HasPrefix(c.Key, f.Prefix) &&
		(len(f.Operations) == 0 || slices.Contains(f.Operations, string(c.Operation))) &&
		(len(f.EntryTypes) == 0 || slices.Contains(f.EntryTypes, c.Type))
}
