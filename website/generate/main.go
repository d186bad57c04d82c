// Command generate writes the reference pages of the site from the code: configuration, commands, HTTP, errors,
// metrics, gRPC, notifications and files. It is run at the root of the repository.
//
//	go run ./website/generate
//
// What it writes is committed; its test fails where that isn't what it would write.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// folder is where the pages are, below the root of the repository.
const folder = "website/reference"

func main() {
	if err := run("."); err != nil {
		fmt.Fprintf(os.Stderr, "generate: %v\n", err)
		os.Exit(1)
	}
}

func run(root string) error {
	pages, err := generate(root)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(root, folder), 0o755); err != nil {
		return err
	}
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(root, folder, name+".md"), pages[name], 0o644); err != nil {
			return err
		}
	}
	return nil
}
