package main

import (
	"cmp"

	"github.com/unisondb/unisondb/sdk/client"
)

// Event is what a webhook carries of a change.
type Event struct {
	Key       string `json:"key"`
	KeyBase64 []byte `json:"key_base64,omitempty"` // instead of Key, where that isn't UTF-8
	Operation string `json:"operation"`
	Place
}

// #region place

// Place is where a change stands in the log. It identifies the change for ever: one that
// is sent again has the same.
type Place struct {
	Lineage string `json:"lineage"`
	Epoch   uint64 `json:"epoch"`
	LSN     uint64 `json:"lsn"`
	Index   int    `json:"index"` // within the record
}

// after reports whether p is new to somebody who has handled q, of the same key. A
// namespace that was made anew has another lineage, and its numbers begin again.
func (p Place) after(q Place) bool {
	return p.Lineage != q.Lineage || cmp.Or(cmp.Compare(p.Epoch, q.Epoch), cmp.Compare(p.LSN, q.LSN), cmp.Compare(p.Index, q.Index)) > 0
}

// #endregion place

// position is the record that the change is part of.
func (p Place) position() client.Position {
	return client.Position{Lineage: p.Lineage, Epoch: p.Epoch, LSN: p.LSN}
}

// key is the key's bytes.
func (e Event) key() string {
	if e.Key == "" {
		return string(e.KeyBase64)
	}
	return e.Key
}
