package main

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"virtrigaud-provider-truenas/cmd/internal/observe"
)

// providerType is the type of the Provider object that runs this program: VirtRigaud has none for TrueNAS.
const providerType = "qemu"

// countLegacyImages counts the images that managers before line 0.4 request, under the name of the counter in VirtRigaud's own
// providers. It logs the first one.
func countLegacyImages(metrics *observe.Metrics, log *zap.Logger) func() {
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "virtrigaud_provider_image_prepare_legacy_requests_total",
		Help: "ImagePrepare requests of managers before line 0.4, whose images are shared by all VMImages with one URL and checksum.",
	}, []string{"provider_type"})
	metrics.Register(requests)
	count := requests.WithLabelValues(providerType)
	var once sync.Once
	return func() {
		count.Inc()
		once.Do(func() {
			log.Warn("the manager does not name the VMImage of an image: images are shared by URL and checksum across namespaces; upgrade VirtRigaud to 0.4")
		})
	}
}
