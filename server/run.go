package server

import (
	"context"
	"time"

	"go.uber.org/zap"

	"virtrigaud-provider-truenas/server/lease"
)

// pruneEvery is how often unused images are looked for.
const pruneEvery = time.Hour

// Run does the background work: it connects to the NAS, so that the log shows a mistake in the configuration at once, marks
// its dataset as this installation's, and removes unused images where that is configured. It runs until ctx ends, and
// continues when the NAS is unreachable.
func (s *Server) Run(ctx context.Context) error {
	if err := s.health.check(ctx); err != nil {
		s.log.Warn("TrueNAS cannot be used yet", zap.Error(err))
	}
	s.claims.Renew(ctx)
	for lease.Sleep(ctx, pruneEvery) == nil {
		s.claims.Renew(ctx)
		if s.cfg.UnusedImages <= 0 {
			continue
		}
		if _, err := s.PruneImages(ctx, s.cfg.UnusedImages, false); err != nil {
			s.log.Warn("cannot remove unused images", zap.Error(err))
		}
	}
	return nil
}

// RenewClaim records this installation's claim where the tree exists already, as after an upgrade.
func (s *Server) RenewClaim(ctx context.Context) { s.claims.Renew(ctx) }

// Ready is nil while the server can handle calls. An unreachable NAS does not matter: Validate reports it, and the manager
// keeps its VMs.
func (s *Server) Ready() error { return nil }
