package server_test

import (
	"bytes"
	"fmt"
	"sync"
	"testing"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// said counts the data that a NAS has sent.
type said struct {
	mu    sync.Mutex
	bytes int
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes += len(bytes.TrimSpace(p))
	return len(p), nil
}

func (s *said) take() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.bytes
	s.bytes = 0
	return n
}

// TestDeleteReadsNothingOfOtherVMs: the NAS sends the same data during a Delete with 3 and with 24 other VMs, all of which this
// provider has made.
func TestDeleteReadsNothingOfOtherVMs(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			sizes := map[int]int{}
			for _, others := range []int{3, 24} {
				var count said
				api, nas := truenastest.New(t, func(c *sim.Config) { c.Release, c.Transcript = release, &count })
				client, _ := serve(t, api)
				addImage(t, nas)
				var id string
				for i := range others + 1 {
					created, err := client.Create(t.Context(), unnamed(fmt.Sprintf("vm-%02d", i)))
					must(t, err)
					id = created.GetId()
				}
				count.take()
				_, err := client.Delete(t.Context(), &providerv1.DeleteRequest{Id: id})
				must(t, err)
				sizes[others] = count.take()
			}
			if few, many := sizes[3], sizes[24]; many > few+few/4 {
				t.Errorf("the calls of a Delete have %d bytes beside 3 other VMs and %d beside 24", few, many)
			}
		})
	}
}
