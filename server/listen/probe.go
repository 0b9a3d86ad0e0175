package listen

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// probes serves the HTTP health checks; without an address it does nothing.
type probes struct {
	listener net.Listener
	http     *http.Server
	draining atomic.Bool
}

// listenProbes listens on the address, unless it is empty. web serves all other paths; it may be nil.
func listenProbes(address string, ready func() error, web http.Handler) (*probes, error) {
	p := &probes{}
	if address == "" {
		return p, nil
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("health checks: %w", err)
	}
	p.listener = listener
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		err := ready()
		if p.draining.Load() {
			err = errors.New("stopping")
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ok\n")
	})
	if web != nil {
		mux.Handle("/", web)
	}
	p.http = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	return p, nil
}

// addr returns the address in use, or nil.
func (p *probes) addr() net.Addr {
	if p.listener == nil {
		return nil
	}
	return p.listener.Addr()
}

func (p *probes) serve() error {
	if p.listener == nil {
		return nil
	}
	if err := p.http.Serve(p.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("health checks: %w", err)
	}
	return nil
}

// drain makes /readyz fail with "stopping"; /healthz succeeds until the last call has ended.
func (p *probes) drain() { p.draining.Store(true) }

func (p *probes) close() {
	if p.listener == nil {
		return
	}
	_ = p.http.Close()
	_ = p.listener.Close()
}
