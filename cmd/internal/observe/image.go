package observe

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// imageMetrics are the metrics of image transfers to the NAS.
type imageMetrics struct {
	bytes prometheus.Counter
	ended *prometheus.CounterVec
	took  prometheus.Histogram
}

func newImageMetrics() imageMetrics {
	m := imageMetrics{
		bytes: prometheus.NewCounter(prometheus.CounterOpts{Namespace: Prefix, Name: "image_bytes_total", Help: "Bytes of images and imported disks downloaded from their sources, as stored there."}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: Prefix, Name: "image_preparations_total", Help: "Image preparations by result: ok or failed."}, []string{"result"}),
		took: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: Prefix, Name: "image_preparation_seconds", Help: "Duration of image preparations, retries included.",
			Buckets: []float64{1, 5, 15, 30, 60, 120, 300, 900, 1800},
		}),
	}
	for _, result := range []string{"ok", "failed"} { // Start counters at 0: one that appears with 1 has no increase, and raises no alert.
		m.ended.WithLabelValues(result)
	}
	return m
}

func (i imageMetrics) all() []prometheus.Collector {
	return []prometheus.Collector{i.bytes, i.ended, i.took}
}

func (i imageMetrics) passed(bytes int) { i.bytes.Add(float64(bytes)) }

func (i imageMetrics) prepared(took time.Duration, err error) {
	result := "ok"
	if err != nil {
		result = "failed"
	}
	i.ended.WithLabelValues(result).Inc()
	i.took.Observe(took.Seconds())
}
