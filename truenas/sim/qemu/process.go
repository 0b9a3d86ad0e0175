package qemu

import (
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// runUntilEnd starts a process, reports the start, and waits for its end. The thread is
// the process's parent, and stays for as long: on Linux the process is killed
// when that thread ends.
func runUntilEnd(cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	dieWithParent(cmd)
	err := cmd.Start()
	for _, f := range cmd.ExtraFiles {
		_ = f.Close() // so that an end of the process is an end of its connections
	}
	started <- err
	if err == nil {
		_ = cmd.Wait() // its output shows how it ended
	}
}

// socketPair makes a connection and the end of it that a process inherits.
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
