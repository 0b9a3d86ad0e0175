//go:build !linux

package truenas

import "syscall"

func boundedRetransmission(_, _ string, _ syscall.RawConn) error { return nil }
