//go:build cgo

package btree

import (
	"time"

	"golang.org/x/sys/unix"
)

// startWriteback has the disk begin with what a commit writes while the commit is still
// copying pages to the page cache: LMDB would leave all of it to its fdatasync, which
// then keeps the disk's queue full, and the log's syncs waiting, for longer. The returned
// function ends that. Nothing depends on it: a commit is durable by LMDB's own
// syncs, and an error of the disk is told by those, because this doesn't wait for any page.
func startWriteback(fd uintptr) (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(writebackInterval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if unix.SyncFileRange(int(fd), 0, 0, unix.SYNC_FILE_RANGE_WRITE) != nil {
					return // a file system that can't
				}
			case <-quit:
				return
			}
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}
