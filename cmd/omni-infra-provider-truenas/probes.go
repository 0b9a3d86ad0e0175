package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// serveProbes serves /healthz, /readyz and the pages of web while the process runs. A replica that waits for leadership is ready,
// and so is one with a faulty NAS, because Omni displays such faults. A replica whose key Omni rejects is not ready.
func serveProbes(ctx context.Context, address string, web http.Handler, ready func() error) error {
	if address == "" {
		return nil
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("--health-listen: %w", err)
	}
	served := &http.Server{Handler: probes(web, ready), ReadHeaderTimeout: 5 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = served.Close() })()
	if err := served.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func probes(web http.Handler, ready func() error) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", web)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	return mux
}
