package observe

import "net/http"

// Web serves the metrics, and the status page unless it is nil, at the health address.
func (o *Observer) Web(page http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", o.Metrics.Handler())
	if page != nil {
		mux.Handle("GET /{$}", page)
	}
	return mux
}
