package omni

import (
	"fmt"
	"testing"
	"time"

	"virtrigaud-provider-truenas/truenas/sim"
)

// BenchmarkTenMachines requests ten machines of one class at once, on a cold NAS with 20 ms per call. ready/op is the time from
// the prepared image until all ten are provisioned.
func BenchmarkTenMachines(b *testing.B) {
	const count = 10
	var ready time.Duration
	calls := 0
	for range b.N {
		client, nas := onNAS(b, "25.10", func(c *sim.Config) { c.Latency = 20 * time.Millisecond })
		w := newWorld(b, Backend{Name: "nas", Client: client})
		w.cfg.Pace = Pace{}
		_, stop := w.start()
		b.ResetTimer()
		for i := range count {
			w.request(fmt.Sprintf("ten-%d", i), class)
		}
		until(b, "the image is ready", func() bool {
			for _, s := range nas.State().Snapshots {
				if len(s.ID) > 6 && s.ID[len(s.ID)-6:] == "@ready" {
					return true
				}
			}
			return false
		})
		begin := time.Now()
		for i := range count {
			w.provisioned(fmt.Sprintf("ten-%d", i))
		}
		took := time.Since(begin)
		ready += took
		b.StopTimer()
		calls += len(nas.Calls())
		stop()
		if took > 30*time.Second {
			b.Errorf("%v from the image to ten machines", took)
		}
		if n := len(w.factory.Fetched()); n != 1 {
			b.Errorf("the image was fetched %d times", n)
		}
	}
	b.ReportMetric(ready.Seconds()/float64(b.N), "ready-s/op")
	b.ReportMetric(float64(calls)/float64(b.N), "calls/op")
}
