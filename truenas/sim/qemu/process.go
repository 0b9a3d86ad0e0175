package qemu

import (
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// runUntilEnd starts a process, reports the start, and waits for the end. It keeps its thread, because on Linux the process is
// killed when the thread that started it ends.
func runUntilEnd(cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	dieWithParent(cmd)
	err := cmd.Start()
	for _, f := range cmd.ExtraFiles {
		_ = f.Close() // so that the connection ends with the process
	}
	started <- err
	if err == nil {
		_ = cmd.Wait() // its output shows how it ended
	}
}

// socketPair returns a connection and its other end for a process to inherit.
func socketPair() (net.Conn, *os.File, error) {
	syscall.ForkLock.RLock()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fds[0])
		syscall.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "socket"), os.NewFile(uintptr(fds[1]), "socket")
	conn, err := net.FileConn(ours)
	_ = ours.Close() // the connection has a copy
	if err != nil {
		_ = theirs.Close()
		return nil, nil, err
	}
	return conn, theirs, nil
}
