package main

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func entries(t *testing.T, path string) (all []Entry, err error) {
	t.Helper()
	j, err := openJournal(path, func(e Entry) { all = append(all, e) })
	if err == nil {
		err = j.close()
	}
	return all, err
}

func someEntries() []Entry {
	return []Entry{
		{Events: []Handled{{Key: "a\n", Place: Place{"l", 1, 2, 0}, Order: &Order{"ann", 3}}, {Key: "b", Place: Place{"l", 1, 2, 1}}}},
		{Reset: true},
		{Events: []Handled{{Key: "c", Place: Place{"l", 1, 9, 0}}}},
	}
}

func write(t *testing.T, path string, all []Entry) {
	t.Helper()
	j, err := openJournal(path, func(Entry) {})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if err := j.append(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
}

// TestTornJournal cuts the file at each byte, as a crash may: whole lines stay, and the next
// entry stands behind them.
func TestTornJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	want := someEntries()
	write(t, path, want)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(whole) + 1 {
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		n := bytes.Count(whole[:cut], []byte("\n"))
		write(t, path, want[2:])
		got, err := entries(t, path)
		if err != nil || !reflect.DeepEqual(got, append(want[:n:n], want[2])) {
			t.Fatalf("cut at %d: %v, %v", cut, got, err)
		}
	}
}

// TestDamagedJournal: what was written once and reads otherwise is never taken for something else.
func TestDamagedJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	write(t, path, someEntries())
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	last := bytes.LastIndexByte(whole[:len(whole)-1], '\n')
	for i := range last {
		damaged := bytes.Clone(whole)
		damaged[i] ^= 4
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := entries(t, path); err == nil {
			t.Fatalf("damaged at %d, it reads as %v", i, got)
		}
	}
}
