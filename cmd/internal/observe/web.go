package observe

import "net/http"

// Web is what the health address has beside the health checks: the metrics, and the status page unless that is nil.
func (o *Observer) Web(page http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", o.Metrics.Handler())
	if page != nil {
		mux.Handle("GET /{$}", page)
	}
	return mux
}
