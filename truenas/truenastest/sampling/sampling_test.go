package sampling

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestRead(t *testing.T) {
	usually := choice{usual, 20000}
	for _, tt := range []struct {
		points, seed string
		want         choice
		fails        string
	}{
		{"", "", usually, ""},
		{"all", "", choice{100, 20000}, ""},
		{"12.5%", "-7", choice{12.5, -7}, ""},
		{"100%", "7", choice{100, 7}, ""},
		{"0%", "", choice{}, "TEST_POINTS"},
		{"101%", "", choice{}, "TEST_POINTS"},
		{"NaN%", "", choice{}, "TEST_POINTS"},
		{"%", "", choice{}, "TEST_POINTS"},
		{"5", "", choice{}, "TEST_POINTS"},
		{"5%", "today", choice{}, "TEST_SEED"},
	} {
		got, err := read(tt.points, tt.seed, 20000)
		if got != tt.want || (err != nil) != (tt.fails != "") || err != nil && !strings.HasPrefix(err.Error(), tt.fails) {
			t.Errorf("TEST_POINTS=%q TEST_SEED=%q: got %+v, %v", tt.points, tt.seed, got, err)
		}
	}
}

func numbered(n int) []string {
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("call %d of %d", i, n))
	}
	return names
}

func TestOfIsTheSameForASeed(t *testing.T) {
	names := numbered(400)
	first := choice{5, 1}.of("Test", names)
	if len(first) != 20 {
		t.Errorf("%d points of 400 for 5%%", len(first))
	}
	backwards := slices.Clone(names)
	slices.Reverse(backwards)
	again := choice{5, 1}.of("Test", backwards)
	slices.Reverse(again)
	if !slices.Equal(first, again) {
		t.Errorf("the order of the points changes the sample: %v, %v", first, again)
	}
	for name, other := range map[string][]string{"seed": choice{5, 2}.of("Test", names), "test": choice{5, 1}.of("Other", names)} {
		if slices.Equal(first, other) {
			t.Errorf("another %s selects the same sample", name)
		}
	}
	if all := (choice{100, 1}).of("Test", names); !slices.Equal(all, names) {
		t.Errorf("all are %d", len(all))
	}
	if one := (choice{2, 1}).of("Test", names[:3]); len(one) != 1 {
		t.Errorf("2%% of three points are %v", one)
	}
}

// Over many seeds, every point is selected.
func TestOfReachesEveryPoint(t *testing.T) {
	names, seen := numbered(40), map[string]int{}
	for seed := range int64(400) {
		for _, name := range (choice{5, seed}).of("Test", names) {
			seen[name]++
		}
	}
	for _, name := range names { // 20 times each on average.
		if seen[name] < 5 || seen[name] > 45 {
			t.Errorf("%s: %d times in 400 samples", name, seen[name])
		}
	}
}

func TestRun(t *testing.T) {
	t.Setenv("TEST_POINTS", "10%")
	t.Setenv("TEST_SEED", "3")
	var mu sync.Mutex
	var ran []string
	points := map[string]func(*testing.T){}
	for _, name := range numbered(50) {
		points[name] = func(*testing.T) {
			mu.Lock()
			defer mu.Unlock()
			ran = append(ran, name)
		}
	}
	Run(t, points)
	if slices.Sort(ran); len(ran) != 5 || len(slices.Compact(ran)) != 5 {
		t.Errorf("10%% of 50 points: %v", ran)
	}
}

func TestAlone(t *testing.T) {
	got := alone("TestX/25.10/Delete/another's_clone_(a)/call_3_of_7")
	want := `TEST_POINTS=all go test -count=1 -run '^TestX$/^25\.10$/^Delete$/^another.s_clone_\(a\)$/^call_3_of_7$'`
	if got != want {
		t.Errorf("got %s", got)
	}
}
