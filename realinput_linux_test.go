package main

import "syscall"

// dieWithParent has the kernel kill a node whose test was killed.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
