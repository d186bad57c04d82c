//go:build !cgo

package btree

import "fmt"

// openLMDB says what to do in a build without cgo.
func openLMDB(Options) (Tree, error) { return nil, noLMDB() }

// readLMDB says so, too.
func readLMDB(Options) (ReadTree, error) { return nil, noLMDB() }

func noLMDB() error {
	return fmt.Errorf(`%w: it was built without cgo, which LMDB needs; set engine = "bolt" for new namespaces, `+
		`or use a build with LMDB for this one`, ErrNoEngine)
}
