package sampling

import (
	"maps"
	"slices"
	"sync"
	"testing"
)

// side is how many points run at the same time.
const side = 8

// Run runs a sample of points as subtests by name, several at the same time whatever the number of processors: they wait
// more than they work. It returns when all are done.
func Run(t *testing.T, points map[string]func(*testing.T)) {
	t.Helper()
	chosen := Of(t, slices.Sorted(maps.Keys(points)))
	names := make(chan string)
	var all sync.WaitGroup
	for range side {
		all.Go(func() {
			for name := range names {
				t.Run(name, func(t *testing.T) { Point(t, points[name]) })
			}
		})
	}
	for _, name := range chosen {
		names <- name
	}
	close(names)
	all.Wait()
}

// Point runs one point. It logs how to repeat the point if that fails.
func Point(t *testing.T, run func(*testing.T)) {
	t.Cleanup(func() {
		if t.Failed() {
			t.Log("run this point alone: " + alone(t.Name()))
		}
	})
	run(t)
}
