package process

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// processAttributes have the kernel kill the child when the thread that started
// it ends, so that no death of the node leaves it behind; child.run keeps that
// thread alive. The group of its own keeps a terminal's interrupt away from it, and
// lets its children be killed with it.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// await waits for the process's end, and ends what is left of its group: before it
// is reaped, its number can be nobody else's.
func (c *child) await() {
	for errors.Is(unix.Waitid(unix.P_PID, c.pid, nil, unix.WEXITED|unix.WNOWAIT, nil), unix.EINTR) {
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = syscall.Kill(-c.pid, syscall.SIGKILL) // mostly there is nobody left
	_ = c.cmd.Wait()                          // the state says it all
	c.state, c.reaped = c.cmd.ProcessState, true
}

// preferForKilling has the kernel, when memory is short, kill a plugin before the node.
func preferForKilling(pid int) error {
	return os.WriteFile(procFile(pid, "oom_score_adj"), []byte("500"), 0)
}

// changeTime is when a file's data or inode changed last; 0: it can't be told.
func changeTime(info os.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Ctim.Nano()
	}
	return 0
}
