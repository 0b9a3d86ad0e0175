// Package memory divides the memory of a container among the parts of a program, so that the kernel never kills it for
// exceeding the limit. The limit is GOMEMLIMIT, or the limit of the container's control group.
package memory

import (
	"io/fs"
	"math"
	"runtime/debug"
	"strconv"
	"strings"
)

// Sizes in bytes.
const (
	mib = 1 << 20
	// rest is what everything but images takes: connections, the list of VMs, requests.
	rest = 96 * mib
	// leastImages lets at least one ordinary image continue.
	leastImages = 32 * mib
)

// limitFiles are where the limit of the own control group is found inside a container, version 2 before
// version 1.
var limitFiles = []string{"sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"}

// Limit is the number of bytes that the process may take: GOMEMLIMIT, or nine tenths of the container's
// memory, since not all that counts for the container is Go's. 0: there is no limit. root is the file
// system of the machine.
func Limit(root fs.FS) int64 {
	if own := debug.SetMemoryLimit(-1); own < math.MaxInt64 {
		return own
	}
	for _, name := range limitFiles {
		text, err := fs.ReadFile(root, name)
		if err != nil {
			continue
		}
		// Version 2 has the word max for no limit, version 1 a number beyond any machine.
		if bytes, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && bytes < 1<<50 {
			return bytes / 10 * 9
		}
	}
	return 0
}

// Bound has the garbage collector keep to the limit, and answers it.
func Bound(root fs.FS) int64 {
	limit := Limit(root)
	if limit > 0 {
		debug.SetMemoryLimit(limit)
	}
	return limit
}

// ForImages is the part of a limit that images and exports may take together; 0 when there is no limit.
// A quarter is left to the garbage collector.
func ForImages(limit int64) int64 {
	if limit <= 0 {
		return 0
	}
	return max(leastImages, (limit-rest)/4*3)
}
