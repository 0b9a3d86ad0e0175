package truenas

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// retransmission limits how long the kernel retransmits unacknowledged data, even after the process
// has ended. The default is a quarter of an hour; a call that arrives so late would surprise its
// caller.
const retransmission = 20 * time.Second

func boundedRetransmission(_, _ string, conn syscall.RawConn) error {
	return conn.Control(func(fd uintptr) {
		// Without the option, the system's default applies.
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(retransmission.Milliseconds()))
	})
}
