//go:build !cgo

package btree

// SetCrashNote does nothing: no engine of this build can take the process with it.
func SetCrashNote(string) error { return nil }

// CloseCrashNote does nothing.
func CloseCrashNote() error { return nil }

// ReadCrashNote names nothing.
func ReadCrashNote(string) ([]string, error) { return nil, nil }
