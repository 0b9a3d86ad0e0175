package observe

import (
	"net/http"
	"time"

	grpcprometheus "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"virtrigaud-provider-truenas/cmd/internal/program"
)

// Prefix begins the name of every metric, except for metrics of the Go runtime and of the process, which have their usual
// names.
const Prefix = "truenas_provider"

// Metrics are the metrics of one program.
type Metrics struct {
	registry *prometheus.Registry
	rpc      *grpcprometheus.ServerMetrics
	called   *grpcprometheus.ClientMetrics
	nas      nasMetrics
	images   imageMetrics
}

// rpcBuckets range from a reply out of the cache to the migration of a disk, in seconds.
func rpcBuckets() []float64 { return []float64{.001, .005, .02, .1, .5, 1, 2.5, 10, 30, 120, 600} }

func newMetrics(build program.Build) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		rpc: grpcprometheus.NewServerMetrics(
			grpcprometheus.WithServerCounterOptions(grpcprometheus.WithNamespace(Prefix)),
			grpcprometheus.WithServerHandlingTimeHistogram(grpcprometheus.WithHistogramNamespace(Prefix), grpcprometheus.WithHistogramBuckets(rpcBuckets())),
		),
		called: grpcprometheus.NewClientMetrics(
			grpcprometheus.WithClientCounterOptions(grpcprometheus.WithNamespace(Prefix)),
			grpcprometheus.WithClientHandlingTimeHistogram(grpcprometheus.WithHistogramNamespace(Prefix), grpcprometheus.WithHistogramBuckets(rpcBuckets())),
		),
		nas:    newNASMetrics(),
		images: newImageMetrics(),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: Prefix, Name: "build_info", Help: "Always 1. Version and commit of the program.",
		ConstLabels: prometheus.Labels{"program": build.Program, "version": build.Version, "commit": build.Commit, "go_version": build.Go},
	})
	info.Set(1)
	m.registry.MustRegister(info, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.registry.MustRegister(m.rpc, m.called)
	m.registry.MustRegister(m.nas.all()...)
	m.registry.MustRegister(m.images.all()...)
	return m
}

// Register adds further collectors of a program.
func (m *Metrics) Register(more ...prometheus.Collector) { m.registry.MustRegister(more...) }

// Gather reads all metrics.
func (m *Metrics) Gather() prometheus.Gatherer { return m.registry }

// Handler answers a scrape.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}
