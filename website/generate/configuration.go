package main

import (
	"slices"
	"strings"

	"github.com/unisondb/unisondb/server/config"
	"github.com/unisondb/unisondb/server/reference"
)

// block is a block of the configuration on its page.
type block struct {
	config.BlockDoc
	Title string
	// Twin is the block that has the same keys, where they are described; empty: here.
	Twin string
}

func blocks() ([]block, error) {
	all, err := reference.Blocks()
	if err != nil {
		return nil, err
	}
	var out []block
	for _, b := range all {
		title := b.Path
		if title == "" {
			title = "Top of a file"
		}
		out = append(out, block{b, title, twin(b, all)})
	}
	return out, nil
}

// twin finds an earlier block of the same name that describes all keys of this one in the same words, or
// the one that a namespace's block repeats.
func twin(b config.BlockDoc, all []config.BlockDoc) string {
	last := b.Path[strings.LastIndex(b.Path, ".")+1:]
	for _, other := range all {
		if other.Path == b.Path || len(b.Keys) == 0 || other.Path[strings.LastIndex(other.Path, ".")+1:] != last || !isOriginal(other.Path) || isOriginal(b.Path) {
			continue
		}
		same := func(k config.KeyDoc) bool {
			return slices.ContainsFunc(other.Keys, func(o config.KeyDoc) bool {
				return keyName(o) == keyName(k) && o.Doc == k.Doc && o.Type == k.Type && o.Required == k.Required && o.Reload == k.Reload
			})
		}
		if !slices.ContainsFunc(b.Keys, func(k config.KeyDoc) bool { return !same(k) }) {
			return other.Path
		}
	}
	return ""
}

// isOriginal says that a block is the one that others are described by.
func isOriginal(path string) bool {
	return !strings.HasPrefix(path, "namespace.") && path != "raft.tls"
}

func keyName(k config.KeyDoc) string { return k.Path[strings.LastIndex(k.Path, ".")+1:] }

// Key is the key's own name.
func (b block) Key(k config.KeyDoc) string { return keyName(k) }

// DefaultOf is what a table says of a key that isn't written.
func (b block) DefaultOf(k config.KeyDoc) string {
	switch {
	case k.Required:
		return "required"
	case k.Default == "":
		return "none"
	}
	return k.Default
}

// Note is what stands behind a key's description.
func (b block) Note(k config.KeyDoc) string {
	var notes []string
	if len(k.Only) > 0 {
		notes = append(notes, "Only in `"+strings.Join(k.Only, "`, `")+"`.")
	}
	if !k.Built || k.Partly {
		notes = append(notes, "See [what isn't built](/guarantees.md).")
	}
	if len(notes) == 0 {
		return ""
	}
	return " " + strings.Join(notes, " ")
}
