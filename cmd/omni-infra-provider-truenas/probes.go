package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// serveProbes answers /healthz, /readyz and the pages of web while the process runs. A replica that waits for its turn is as well as the one
// that works, and what is wrong with a NAS is told in Omni.
func serveProbes(ctx context.Context, address string, web http.Handler) error {
	if address == "" {
		return nil
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("--health-listen: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", web)
	for _, page := range []string{"GET /healthz", "GET /readyz"} {
		mux.HandleFunc(page, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	}
	probes := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = probes.Close() })()
	if err := probes.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
