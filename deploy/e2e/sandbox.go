package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// In the sandbox, loopback has all addresses of 192.0.2.0/24. Every process has its own address, as in a cluster, and the
// manager's guard against migrations to 127.0.0.0/8 accepts them.
const (
	network        = "192.0.2."
	addressImages  = network + "20"
	addressS3      = network + "30"
	insideVariable = "E2E_INSIDE"
)

func inside() bool { return os.Getenv(insideVariable) != "" }

// enter runs this program again in new namespaces. A user other than root becomes root of a user namespace first.
func enter(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute
	attr := &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL, // all others end with the first process of a namespace
	}
	if os.Getuid() != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	cmd.SysProcAttr = attr
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		os.Exit(exit.ExitCode()) // the process has reported the error
	}
	if err != nil {
		return fmt.Errorf("namespaces of its own: %w", err)
	}
	return nil
}

// manyUsers reports whether processes can run as users other than root here.
func manyUsers() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	fields := strings.Fields(string(b))
	return err == nil && len(fields) == 3 && fields[2] != "1"
}

// furnish configures the namespaces: mounts stay private, and loopback is up.
func furnish() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts private: %w", err)
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer func() { _ = syscall.Close(fd) }() // only used for the request
	if err := setFlagsUp(fd, "lo"); err != nil {
		return fmt.Errorf("bring loopback up: %w", err)
	}
	if err := setAddress(fd, "lo:1", syscall.SIOCSIFADDR, net.ParseIP(network+"1")); err != nil {
		return fmt.Errorf("give loopback an address: %w", err)
	}
	if err := setAddress(fd, "lo:1", syscall.SIOCSIFNETMASK, net.IPv4(255, 255, 255, 0)); err != nil {
		return fmt.Errorf("give loopback a network: %w", err)
	}
	return nil
}

// ifreq is struct ifreq of netdevice(7): a name and its request.
type ifreq struct {
	name [syscall.IFNAMSIZ]byte
	data [24]byte
}

func setFlagsUp(fd int, name string) error {
	var r ifreq
	copy(r.name[:], name)
	*(*uint16)(unsafe.Pointer(&r.data[0])) = syscall.IFF_UP | syscall.IFF_RUNNING
	return ioctl(fd, syscall.SIOCSIFFLAGS, &r)
}

func setAddress(fd int, name string, request uintptr, ip net.IP) error {
	var r ifreq
	copy(r.name[:], name)
	*(*uint16)(unsafe.Pointer(&r.data[0])) = syscall.AF_INET
	copy(r.data[4:8], ip.To4()) // after the port of struct sockaddr_in
	return ioctl(fd, request, &r)
}

func ioctl(fd int, request uintptr, r *ifreq) error {
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(r))); errno != 0 {
		return errno
	}
	return nil
}

// names is the hosts file of the sandbox, which replaces the cluster's DNS.
type names struct {
	mu   sync.Mutex
	path string
}

// newNames mounts a new file over /etc/hosts.
func newNames(path string) (*names, error) {
	if err := os.WriteFile(path, []byte("127.0.0.1 localhost\n"), 0o644); err != nil {
		return nil, err
	}
	if err := syscall.Mount(path, "/etc/hosts", "", syscall.MS_BIND, ""); err != nil {
		return nil, fmt.Errorf("put a file over /etc/hosts: %w", err)
	}
	return &names{path: path}, nil
}

func (n *names) add(name, address string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	f, err := os.OpenFile(n.path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s %s\n", address, name)
	return errors.Join(err, f.Close())
}
