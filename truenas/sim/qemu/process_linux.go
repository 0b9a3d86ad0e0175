package qemu

import (
	"os/exec"
	"syscall"
)

// dieWithParent lets the kernel kill the process when the program ends, however
// that comes about.
func dieWithParent(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
