package truenas

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// retransmission is how long the system goes on offering the NAS what it has not
// acknowledged, also when the process has ended by then. By default that is a
// quarter of an hour, after which nobody expects the call to be carried out.
const retransmission = 20 * time.Second

func boundedRetransmission(_, _ string, conn syscall.RawConn) error {
	return conn.Control(func(fd uintptr) {
		// A system without the option is no worse than before.
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(retransmission.Milliseconds()))
	})
}
