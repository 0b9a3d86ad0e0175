package observe

import (
	"context"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"virtrigaud-provider-truenas/server"
)

// stateOf collects the provider's cached state at each scrape. It makes no calls to the NAS.
type stateOf struct {
	provider  *server.Server
	connected *prometheus.Desc
	latency   *prometheus.Desc
	info      *prometheus.Desc
	jobs      *prometheus.Desc
	vms       *prometheus.Desc
	images    *prometheus.Desc
	lookups   *prometheus.Desc
}

func newStateOf(s *server.Server) *stateOf {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(Prefix+"_"+name, help, labels, nil)
	}
	return &stateOf{
		provider:  s,
		connected: desc("nas_connected", "1 while there is a connection to the NAS, else 0."),
		latency:   desc("nas_latency_seconds", "The last round trip to the NAS. Absent without a connection."),
		info:      desc("nas_info", "Always 1. The NAS that the provider is connected to. Absent without a connection.", "release", "system"),
		jobs:      desc("nas_jobs_running", "Unfinished jobs of the NAS that this provider started or waits for."),
		vms:       desc("vms", "VMs on the NAS by TrueNAS's state and whether this provider created them; the last known state while the NAS is away. Absent before the first list.", "state", "managed"),
		images:    desc("images", "Images in preparation (preparing), and failed preparations of the last ten minutes (failed).", "state"),
		lookups:   desc("inventory_lookups_total", "Lookups of one VM: answered from memory (hit) or by the NAS (miss).", "result"),
	}
}

// Describe implements [prometheus.Collector].
func (s *stateOf) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{s.connected, s.latency, s.info, s.jobs, s.vms, s.images, s.lookups} {
		to <- d
	}
}

// Collect implements [prometheus.Collector].
func (s *stateOf) Collect(to chan<- prometheus.Metric) {
	o := s.provider.Overview(context.Background())
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	if o.NAS.Connected {
		gauge(s.connected, 1)
		gauge(s.latency, o.NAS.Latency.Seconds())
		gauge(s.info, 1, o.Release, o.NAS.System)
	} else {
		gauge(s.connected, 0)
	}
	gauge(s.jobs, float64(len(o.Jobs)))
	s.collectVMs(o, gauge)
	s.collectImages(gauge)
	to <- prometheus.MustNewConstMetric(s.lookups, prometheus.CounterValue, float64(o.Inventory.Hits), "hit")
	to <- prometheus.MustNewConstMetric(s.lookups, prometheus.CounterValue, float64(o.Inventory.Misses), "miss")
}

func (s *stateOf) collectVMs(o server.Overview, gauge func(*prometheus.Desc, float64, ...string)) {
	if !o.Listed {
		return
	}
	type kind struct {
		state   string
		managed bool
	}
	count := map[kind]int{}
	for _, state := range []string{"running", "stopped"} { // Expose zero counts too.
		count[kind{state, true}], count[kind{state, false}] = 0, 0
	}
	for _, vm := range o.VMs {
		count[kind{strings.ToLower(vm.State), vm.Managed}]++
	}
	for k, n := range count {
		gauge(s.vms, float64(n), k.state, strconv.FormatBool(k.managed))
	}
}

func (s *stateOf) collectImages(gauge func(*prometheus.Desc, float64, ...string)) {
	var preparing, failed float64
	for _, i := range s.provider.ImagesInProgress() {
		if i.Running {
			preparing++
		} else {
			failed++
		}
	}
	gauge(s.images, preparing, "preparing")
	gauge(s.images, failed, "failed")
}
