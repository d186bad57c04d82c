//go:build !linux

package vfs

// WritevAt writes the buffers one after another at off.
func (f *osFile) WritevAt(bufs [][]byte, off int64) (int, error) {
	total := 0
	for _, b := range bufs {
		n, err := f.WriteAt(b, off+int64(total))
		total += n
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// SyncData makes everything durable: there is no cheaper way that is portable.
func (f *osFile) SyncData() error { return f.Sync() }

// Allocate writes zeros where the file doesn't reach yet.
func (f *osFile) Allocate(off, n int64) error { return f.fail("allocate", f.extend(off, n)) }
