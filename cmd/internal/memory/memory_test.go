package memory

import (
	"math"
	"runtime/debug"
	"testing"
	"testing/fstest"
)

func TestLimit(t *testing.T) {
	const v2, v1 = "sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  int64
	}{
		{"no control groups", nil, 0},
		{"version 2", map[string]string{v2: "536870912\n"}, 536870910 / 10 * 9},
		{"version 2 without a limit", map[string]string{v2: "max\n"}, 0},
		{"version 1", map[string]string{v1: "536870912\n"}, 536870910 / 10 * 9},
		{"version 1 without a limit", map[string]string{v1: "9223372036854771712\n"}, 0},
		{"something else", map[string]string{v2: "lots"}, 0},
	} {
		root := fstest.MapFS{}
		for name, text := range tt.files {
			root[name] = &fstest.MapFile{Data: []byte(text)}
		}
		if got := Limit(root); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestBound(t *testing.T) {
	defer debug.SetMemoryLimit(math.MaxInt64)
	root := fstest.MapFS{"sys/fs/cgroup/memory.max": {Data: []byte("536870912")}}
	limit := Bound(root)
	if got := debug.SetMemoryLimit(-1); got != limit || limit == 0 {
		t.Errorf("the collector's limit is %d, the container's %d", got, limit)
	}
	if again := Limit(fstest.MapFS{}); again != limit {
		t.Errorf("GOMEMLIMIT of %d counts as %d", limit, again)
	}
}

func TestForImages(t *testing.T) {
	for limit, want := range map[int64]int64{0: 0, 460 * mib: 273 * mib, 64 * mib: leastImages} {
		if got := ForImages(limit); got != want {
			t.Errorf("of %d MiB images get %d bytes, want %d", limit/mib, got, want)
		}
	}
}
