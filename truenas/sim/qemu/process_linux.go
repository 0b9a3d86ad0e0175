package qemu

import (
	"os/exec"
	"syscall"
)

// dieWithParent makes the kernel kill the process when the program ends for any reason.
func dieWithParent(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
