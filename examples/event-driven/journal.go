package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
)

// Journal is the service's own durable state: a file of entries, each a line with its
// checksum. An entry is in it when its line is on the disk.
type Journal struct {
	file *os.File
	size int64 // of what is good
}

// checksum has eight hexadecimal digits, and a space behind them.
const checksum = 9

// openJournal opens or makes a journal, and hands over what is in it.
func openJournal(path string, take func(Entry)) (_ *Journal, err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	j := &Journal{file: file}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("journal %s: %w", path, err), file.Close())
		}
	}()
	if err := j.load(take); err != nil {
		return nil, err
	}
	return j, syncDir(filepath.Dir(path))
}

// load reads entries up to the end. Only the last line may be incomplete: the process
// was killed while it wrote it, and nobody was told that it was done.
func (j *Journal) load(take func(Entry)) error {
	in := bufio.NewReader(j.file)
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return j.file.Truncate(j.size)
		}
		if err != nil {
			return err
		}
		e, err := decode(line)
		if err != nil {
			return fmt.Errorf("at byte %d: %w: restore it, or remove it and let a reset read everything anew", j.size, err)
		}
		take(e)
		j.size += int64(len(line))
	}
}

func decode(line []byte) (e Entry, err error) {
	if len(line) <= checksum {
		return Entry{}, errors.New("a line is too short")
	}
	body := bytes.TrimSuffix(line[checksum:], []byte("\n"))
	if want := fmt.Sprintf("%08x ", crc32.ChecksumIEEE(body)); want != string(line[:checksum]) {
		return Entry{}, errors.New("a line doesn't have the checksum that it was written with")
	}
	return e, json.Unmarshal(body, &e)
}

// append writes an entry. When it returns without an error, the entry outlives a power cut.
func (j *Journal) append(e Entry) error {
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	line := fmt.Appendf(nil, "%08x %s\n", crc32.ChecksumIEEE(body), body)
	if _, err := j.file.WriteAt(line, j.size); err != nil {
		return err
	}
	if err := j.file.Sync(); err != nil {
		return err
	}
	j.size += int64(len(line))
	return nil
}

func (j *Journal) close() error { return j.file.Close() }

// syncDir makes the name of a new file durable.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
