//go:build !linux

package process

import (
	"os"
	"syscall"
)

// processAttributes give the child a group of its own, which keeps a terminal's
// interrupt away from it. Only Linux can kill it together with the node.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

// await waits for the process's end.
func (c *child) await() {
	_ = c.cmd.Wait() // the state says it all
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state, c.reaped = c.cmd.ProcessState, true
}

func preferForKilling(int) error { return nil }

// changeTime can't be told here.
func changeTime(os.FileInfo) int64 { return 0 }
