package truenastest

import (
	"sync"
	"testing"
)

// side is how many subtests run at the same time.
const side = 8

// Together runs subtests by name, several at the same time whatever the number of processors, for those that wait more than
// they work. It returns when all are done.
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
