package image

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// limit is the memory limit in bytes that VirtRigaud's manager sets for a provider.
const limit = 512 << 20

// memoryGroup makes a control group with that limit, in the kernel's version, and returns a function for its peak usage.
func memoryGroup(t *testing.T) (dir string, peak func() int64) {
	t.Helper()
	base, most, used := "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes"
	if _, err := os.Stat(base); err != nil {
		base, most, used = "/sys/fs/cgroup", "memory.max", "memory.peak"
		if err := os.WriteFile(filepath.Join(base, "cgroup.subtree_control"), []byte("+memory"), 0); err != nil {
			t.Fatalf("this kernel has no memory control group for this test: %v", err)
		}
	}
	dir, err := os.MkdirTemp(base, "image-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(filepath.Join(dir, most), fmt.Append(nil, limit), 0); err != nil {
		t.Fatal(err)
	}
	return dir, func() int64 {
		text, err := os.ReadFile(filepath.Join(dir, used))
		if err != nil {
			t.Fatal(err)
		}
		bytes, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return bytes
	}
}
