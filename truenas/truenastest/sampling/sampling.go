// Package sampling runs the points of a large test, such as the calls of an operation times the faults of a call. By default
// a test runs a sample of its points:
//
//	sampling.Run(t, map[string]func(*testing.T){"Delete/reply lost/call 3 of 7": …})
//
// Two environment variables select it, for all packages in the same way:
//
//	TEST_POINTS   "all", or a percentage such as "5%"; the default is 1%
//	TEST_SEED     a whole number; the default is the number of the day since 1970
//
// At least one point of each test runs. A point that fails logs the command that runs it alone.
package sampling

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// usual is the default of TEST_POINTS, in percent.
const usual = 1

// choice is a share of points in percent, and the seed that selects them.
type choice struct {
	percent float64
	seed    int64
}

// read returns the choice that two values of the environment make. Empty values represent the defaults.
func read(points, seed string, day int64) (choice, error) {
	c := choice{percent: usual, seed: day}
	var err error
	switch number, isPercentage := strings.CutSuffix(points, "%"); {
	case points == "all":
		c.percent = 100
	case isPercentage:
		c.percent, err = strconv.ParseFloat(number, 64)
		if err != nil || !(c.percent > 0 && c.percent <= 100) {
			return choice{}, fmt.Errorf("TEST_POINTS %q: want all, or a percentage above 0%% and up to 100%%", points)
		}
	case points != "":
		return choice{}, fmt.Errorf("TEST_POINTS %q: want all, or a percentage such as 5%%", points)
	}
	if seed != "" {
		if c.seed, err = strconv.ParseInt(seed, 10, 64); err != nil {
			return choice{}, fmt.Errorf("TEST_SEED %q: want a whole number", seed)
		}
	}
	return c, nil
}

// current is the choice of the environment.
func current(t testing.TB) choice {
	t.Helper()
	c, err := read(os.Getenv("TEST_POINTS"), os.Getenv("TEST_SEED"), time.Now().Unix()/(24*60*60))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// String is the choice as the environment has it.
func (c choice) String() string {
	if c.percent == 100 {
		return "TEST_POINTS=all"
	}
	return fmt.Sprintf("TEST_POINTS=%v%% TEST_SEED=%d", c.percent, c.seed)
}

// of returns the selected names in their order, at least one. Whether a name is selected depends on the seed, the test and
// the names, not on the order.
func (c choice) of(test string, names []string) []string {
	if c.percent == 100 || len(names) == 0 {
		return names
	}
	most := max(1, int(float64(len(names))*c.percent/100+0.5))
	rank := func(name string) uint64 {
		h := fnv.New64a()
		fmt.Fprintf(h, "%d\x00%s\x00%s", c.seed, test, name)
		return mixed(h.Sum64())
	}
	chosen := slices.Clone(names)
	slices.SortFunc(chosen, func(a, b string) int { return cmp.Compare(rank(a), rank(b)) })
	chosen = chosen[:most]
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !slices.Contains(chosen, name) })
}

// mixed spreads a hash: FNV's last bytes hardly change the upper bits. The constants are those of MurmurHash3's finalizer.
func mixed(h uint64) uint64 {
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// Of returns the selected names and logs their number and the selection.
func Of(t testing.TB, names []string) []string {
	t.Helper()
	c := current(t)
	chosen := c.of(t.Name(), names)
	t.Logf("%d of %d points: %v", len(chosen), len(names), c)
	return chosen
}

// All reports whether the test runs all points, for a test that repeats an operation many times.
func All(t testing.TB) bool {
	t.Helper()
	return current(t).percent == 100
}

// alone is the command that runs a test or a point, and nothing else, in the folder of its package.
func alone(test string) string {
	var parts []string
	for part := range strings.SplitSeq(test, "/") {
		parts = append(parts, "^"+strings.ReplaceAll(regexp.QuoteMeta(part), "'", ".")+"$")
	}
	return "TEST_POINTS=all go test -count=1 -run '" + strings.Join(parts, "/") + "'"
}
