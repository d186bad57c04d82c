// Command manpages writes the manual pages of the unisondb program into a directory. They are
// made of what the program says of itself; see command.Reference.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/unisondb/unisondb/command"
)

func main() {
	version := flag.String("version", "", "the version that the pages are of")
	date := flag.String("date", "", "when it was made, in RFC 3339; anything else leaves the date out")
	out := flag.String("out", ".", "the directory for the pages")
	flag.Parse()
	if err := write(*out, *version, *date); err != nil {
		fmt.Fprintf(os.Stderr, "manpages: %v\n", err)
		os.Exit(1)
	}
}

// write writes all pages into a directory, which it makes.
func write(dir, version, date string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	day := ""
	if at, err := time.Parse(time.RFC3339, date); err == nil {
		day = at.UTC().Format(time.DateOnly)
	}
	for name, text := range pages(command.Reference(), version, day) {
		if err := os.WriteFile(filepath.Join(dir, name+".1"), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
