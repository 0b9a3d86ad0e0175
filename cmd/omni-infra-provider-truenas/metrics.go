package main

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"virtrigaud-provider-truenas/cmd/internal/observe"
	"virtrigaud-provider-truenas/omni"
)

// adapterMetrics are the metrics of the adapter, beside those of an [observe.Observer] for its provider.
type adapterMetrics struct {
	working  atomic.Pointer[omni.Provisioner] // nil while this replica is not the leader
	steps    *prometheus.CounterVec
	leader   *prometheus.Desc
	requests *prometheus.Desc
	usable   *prometheus.Desc
	troubles *prometheus.Desc
	access   *prometheus.Desc
}

func newAdapterMetrics() *adapterMetrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(observe.Prefix+"_"+name, help, labels, nil)
	}
	return &adapterMetrics{
		steps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: observe.Prefix, Subsystem: "omni", Name: "steps_total",
			Help: "Runs of the steps that machine requests go through, by result: done, waiting, retry (a failure that is retried) or failed.",
		}, []string{"step", "result"}),
		access:   desc("omni_key_accepted", "1 while Omni accepts the service account's key, 0 while it rejects it. Only the leader reports."),
		leader:   desc("leader", "1 on the leader, 0 on a replica that waits for leadership."),
		requests: desc("omni_requests", "Machine requests by their current step; provisioned is the last. Only the leader reports.", "step"),
		usable:   desc("omni_provider_usable", "1 for each backend that the last health check found usable, 0 for others. Only the leader reports.", "provider"),
		troubles: desc("omni_troubles", "Further faults in the health text: orphans, machines that were deleted or never joined, failed removals. Only the leader reports."),
	}
}

func (m *adapterMetrics) hooks() omni.Hooks {
	return omni.Hooks{OnStep: func(step, result string) { m.steps.WithLabelValues(step, result).Inc() }}
}

// ready reports whether Omni accepts the key. A replica that waits for leadership has made no call, and counts as ready.
func (m *adapterMetrics) ready() error {
	if p := m.working.Load(); p != nil {
		return p.Ready()
	}
	return nil
}

// Describe implements [prometheus.Collector].
func (m *adapterMetrics) Describe(to chan<- *prometheus.Desc) {
	m.steps.Describe(to)
	for _, d := range []*prometheus.Desc{m.access, m.leader, m.requests, m.usable, m.troubles} {
		to <- d
	}
}

// Collect implements [prometheus.Collector].
func (m *adapterMetrics) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	m.steps.Collect(to)
	p := m.working.Load()
	if p == nil {
		gauge(m.leader, 0)
		return
	}
	gauge(m.leader, 1)
	accepted := 1.0
	if p.Ready() != nil {
		accepted = 0
	}
	gauge(m.access, accepted)
	o := p.Overview()
	count := map[string]float64{omni.StepRemoving: 0, omni.StepDone: 0}
	for _, step := range p.ProvisionSteps() {
		count[step.Name()] = 0
	}
	for _, r := range o.Requests {
		count[r.Step]++
	}
	for step, n := range count {
		gauge(m.requests, n, step)
	}
	for _, b := range o.Providers {
		usable := 0.0
		if b.Err == nil && !b.Checked.IsZero() {
			usable = 1
		}
		gauge(m.usable, usable, b.Name)
	}
	gauge(m.troubles, float64(len(o.Troubles)))
}
