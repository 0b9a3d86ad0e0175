package truenastest

import (
	"sync"
	"testing"
)

// side is the maximum number of concurrent subtests.
const side = 8

// Together runs subtests by name, eight at a time whatever the number of processors. It suits tests that wait more than they
// compute, and returns when all are done.
func Together(t *testing.T, points map[string]func(*testing.T)) {
	names := make(chan string)
	var all sync.WaitGroup
	for range side {
		all.Go(func() {
			for name := range names {
				t.Run(name, points[name])
			}
		})
	}
	for name := range points {
		names <- name
	}
	close(names)
	all.Wait()
}
