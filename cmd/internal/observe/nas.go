package observe

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"virtrigaud-provider-truenas/truenas"
)

// nasMetrics are the metrics that the client's hooks update.
type nasMetrics struct {
	calls       *prometheus.CounterVec
	took        *prometheus.HistogramVec
	jobs        *prometheus.CounterVec
	bytes       *prometheus.CounterVec
	connections prometheus.Counter
	losses      prometheus.Counter
	was         *atomic.Bool // state of the connection at the last notification
}

func newNASMetrics() nasMetrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: Prefix, Subsystem: "nas", Name: name, Help: help}, labels)
	}
	single := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: Prefix, Subsystem: "nas", Name: name, Help: help})
	}
	return nasMetrics{
		calls: counter("calls_total", "Calls to the NAS, uploads and downloads, by method and result.", "method", "result"),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: Prefix, Subsystem: "nas", Name: "call_seconds", Help: "Duration of calls to the NAS, including the wait for a free slot.",
			Buckets: []float64{.005, .02, .05, .1, .25, .5, 1, 2.5, 10, 60, 600},
		}, []string{"method"}),
		jobs:        counter("jobs_total", "Finished jobs of the NAS by method and final state: success, failed or aborted.", "method", "state"),
		bytes:       counter("transfer_bytes_total", "Bytes of files sent to the NAS (upload) and received from it (download).", "direction"),
		connections: single("connections_total", "Number of connections to the NAS."),
		losses:      single("disconnections_total", "Number of lost connections to the NAS."),
		was:         &atomic.Bool{},
	}
}

func (n nasMetrics) all() []prometheus.Collector {
	return []prometheus.Collector{n.calls, n.took, n.jobs, n.bytes, n.connections, n.losses}
}

func (n nasMetrics) called(c truenas.CallInfo) {
	n.calls.WithLabelValues(c.Method, resultOf(c.Err)).Inc()
	n.took.WithLabelValues(c.Method).Observe(c.Took.Seconds())
}

func (n nasMetrics) jobEnded(j truenas.Job) {
	n.jobs.WithLabelValues(j.Method, strings.ToLower(j.State)).Inc()
}

func (n nasMetrics) passed(method string, bytes int) {
	direction := "download"
	if method == "filesystem.put" {
		direction = "upload"
	}
	n.bytes.WithLabelValues(direction).Add(float64(bytes))
}

// changed counts connections and losses. The client reports an unreachable NAS more than once.
func (n nasMetrics) changed(s truenas.Status) {
	switch was := n.was.Swap(s.Connected); {
	case s.Connected && !was:
		n.connections.Inc()
	case !s.Connected && was:
		n.losses.Inc()
	}
}

// results are the values of the result label. The first match applies.
var results = []struct {
	err  error
	name string
}{
	{context.Canceled, "canceled"},
	{context.DeadlineExceeded, "timeout"},
	{truenas.ErrUncertain, "uncertain"},
	{truenas.ErrUnavailable, "unavailable"},
	{truenas.ErrAuth, "auth"},
	{truenas.ErrCertificate, "certificate"},
	{truenas.ErrPermission, "permission"},
	{truenas.ErrUnsupported, "unsupported"},
	{truenas.ErrNotFound, "not_found"},
	{truenas.ErrExists, "exists"},
	{truenas.ErrBusy, "busy"},
	{truenas.ErrNoSpace, "no_space"},
	{truenas.ErrNoMemory, "no_memory"},
	{truenas.ErrInvalid, "invalid"},
	{truenas.ErrJobLost, "job_lost"},
	{truenas.ErrAborted, "aborted"},
}

// resultOf returns the result label of an error: "ok", one of the client's kinds, or "failed".
func resultOf(err error) string {
	if err == nil {
		return "ok"
	}
	for _, r := range results {
		if errors.Is(err, r.err) {
			return r.name
		}
	}
	return "failed"
}
