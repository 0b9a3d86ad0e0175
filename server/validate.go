package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/inventory"
	"virtrigaud-provider-truenas/server/ownership"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// healthAge is how long a check of the pool stays valid: the manager validates on every reconcile of every VM.
const healthAge = 30 * time.Second

// health checks whether the NAS is usable, and remembers whether it ever was.
type health struct {
	nas     *truenas.Client
	dataset string
	flight  singleflight.Group

	pattern string                        // matches the roots of the tree
	roots   func([]truenas.Dataset) error // checks the owner of the roots

	mu      sync.Mutex
	checked time.Time
	worked  bool // the configuration has worked before, so a failure is an outage
}

func newHealth(nas *truenas.Client, dataset string) *health {
	return &health{nas: nas, dataset: dataset}
}

// errNoPool reports that the NAS has no such pool.
var errNoPool = errors.New("the NAS has no pool")

// check queries the NAS, at most once per [healthAge].
func (h *health) check(ctx context.Context) error {
	if h.fresh() {
		return nil
	}
	_, err := inventory.Share(ctx, &h.flight, "", func(ctx context.Context) (struct{}, error) { return struct{}{}, h.ask(ctx) })
	return err
}

func (h *health) fresh() bool {
	connected := h.nas.Status().Connected
	h.mu.Lock()
	defer h.mu.Unlock()
	return connected && time.Since(h.checked) < healthAge
}

func (h *health) ask(ctx context.Context) error {
	pool := spec.PoolOf(h.dataset)
	list, err := h.nas.Datasets.List(ctx, truenas.AnyOf(truenas.Where("id", pool), truenas.Cond("id", "~", h.pattern)))
	if err != nil {
		return err
	}
	if err := h.roots(list); err != nil {
		return err
	}
	if !slices.ContainsFunc(list, func(d truenas.Dataset) bool { return d.ID == pool }) {
		return fmt.Errorf("%w %q", errNoPool, pool)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checked, h.worked = time.Now(), true
	return nil
}

func (h *health) hasWorked() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.worked
}

// Validate returns ok=false only for a configuration that cannot work, because the manager then drops every VM that is being
// deleted, which orphans the VM. An outage of any length is ok=true with "degraded" in the message.
func (s *Server) Validate(ctx context.Context, _ *providerv1.ValidateRequest) (*providerv1.ValidateResponse, error) {
	err := s.health.check(ctx)
	switch {
	case err == nil:
		return &providerv1.ValidateResponse{Ok: true, Message: s.nas.Status().System + ", dataset " + s.cfg.Dataset}, nil
	case isUnusable(err, s.health.hasWorked()):
		return &providerv1.ValidateResponse{Ok: false, Message: err.Error()}, nil
	}
	return &providerv1.ValidateResponse{Ok: true, Message: "degraded: " + err.Error()}, nil
}

// isUnusable distinguishes a configuration that cannot work from an outage. A configuration that worked before has an outage,
// unless the NAS rejects the key.
func isUnusable(err error, worked bool) bool {
	var dns *net.DNSError
	switch {
	case errors.Is(err, truenas.ErrAuth):
		return true
	case worked:
		return false
	case errors.Is(err, truenas.ErrCertificate), errors.Is(err, truenas.ErrUnsupported), errors.Is(err, errNoPool), errors.Is(err, ownership.ErrForeign), errors.Is(err, truenas.ErrPermission):
		return true
	}
	return errors.As(err, &dns) && dns.IsNotFound
}
