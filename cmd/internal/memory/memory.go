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
	// rest is the memory of everything except images: connections, the list of VMs, requests.
	rest = 96 * mib
	// leastImages is enough for one ordinary image at a time.
	leastImages = 32 * mib
)

// limitFiles are the paths of the control group's limit inside a container, version 2 before version 1.
var limitFiles = []string{"sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"}

// Limit returns the number of bytes that the process may use: GOMEMLIMIT, or nine tenths of the container's memory, because the
// container's usage includes more than Go's memory. 0 means no limit. root is the file system of the host.
func Limit(root fs.FS) int64 {
	if own := debug.SetMemoryLimit(-1); own < math.MaxInt64 {
		return own
	}
	for _, name := range limitFiles {
		text, err := fs.ReadFile(root, name)
		if err != nil {
			continue
		}
		// Without a limit, version 2 has the word max, and version 1 a number beyond the memory of any host.
		if bytes, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && bytes < 1<<50 {
			return bytes / 10 * 9
		}
	}
	return 0
}

// Bound sets the limit of the garbage collector, and returns it.
func Bound(root fs.FS) int64 {
	limit := Limit(root)
	if limit > 0 {
		debug.SetMemoryLimit(limit)
	}
	return limit
}

// ForImages returns the part of a limit that images and exports may use together, or 0 without a limit. A quarter remains for the
// garbage collector.
func ForImages(limit int64) int64 {
	if limit <= 0 {
		return 0
	}
	return max(leastImages, (limit-rest)/4*3)
}
