package sim

import (
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// ServeHTTP serves the paths of a NAS that API clients need: /api/versions, /api/current and each exact version, /_upload and
// /_download. Every version of the API behaves as the simulated release.
func (s *Sim) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.enter() {
		panic(http.ErrAbortHandler) // cuts the connection without a reply
	}
	defer s.wg.Done()
	version, isAPI := strings.CutPrefix(r.URL.Path, "/api/")
	switch {
	case r.URL.Path == "/api/versions":
		s.serveVersions(w, r)
	case isAPI && (version == "current" || slices.Contains(s.generation.versions, version)):
		s.serveWebsocket(w, r)
	case r.URL.Path == "/_upload":
		s.serveUpload(w, r)
	case strings.HasPrefix(r.URL.Path, "/_download/"):
		s.serveDownload(w, r)
	default:
		http.NotFound(w, r)
	}
}

// enter admits a request, unless the NAS is off. Close waits for it.
func (s *Sim) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.offline {
		return false
	}
	s.wg.Add(1)
	return true
}

func (s *Sim) serveVersions(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		http.Error(w, "405: Method Not Allowed", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(s.generation.versions) // the client may be gone
}

// peer is the sender of a request.
type peer struct {
	address string
	secure  bool // over TLS, or from the NAS itself
	tls     bool
}

// peerOf returns the sender of a request. TrueNAS trusts plain HTTP only from loopback.
func (s *Sim) peerOf(r *http.Request) peer {
	address, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		address = r.RemoteAddr
	}
	s.mu.Lock()
	if s.remote != "" {
		address = s.remote
	}
	s.mu.Unlock()
	ip, err := netip.ParseAddr(address)
	local := err == nil && ip.Unmap().IsLoopback()
	return peer{address: address, secure: r.TLS != nil || local, tls: r.TLS != nil}
}
