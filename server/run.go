package server

import (
	"context"
	"time"

	"go.uber.org/zap"

	"virtrigaud-provider-truenas/server/landing"
	"virtrigaud-provider-truenas/server/lease"
)

// Run does the background work: it connects to the NAS, so that the log shows a mistake in the configuration at once, marks
// its dataset as this installation's, and removes unused images where that is configured. It runs until ctx ends, and
// continues when the NAS is unreachable.
func (s *Server) Run(ctx context.Context) error {
	if err := s.health.check(ctx); err != nil && ctx.Err() == nil {
		s.log.Warn("TrueNAS cannot be used yet", zap.Error(err))
	}
	s.claims.Renew(ctx)
	for lease.Sleep(ctx, landing.PruneEvery) == nil {
		s.claims.Renew(ctx)
		if s.cfg.UnusedImages <= 0 {
			continue
		}
		if _, err := s.PruneImages(ctx, s.cfg.UnusedImages, false); err != nil && ctx.Err() == nil {
			s.log.Warn("cannot remove unused images", zap.Error(err))
		}
	}
	return nil
}

// RenewClaim records this installation's claim where the tree exists already, as after an upgrade.
func (s *Server) RenewClaim(ctx context.Context) { s.claims.Renew(ctx) }

// UnusedImage is an image that no VM is a clone of.
type UnusedImage = landing.UnusedImage

// PruneImages removes images that had no clones for a time; with dry it only lists them. See [landing.Images.Prune].
func (s *Server) PruneImages(ctx context.Context, unusedFor time.Duration, dry bool) ([]landing.UnusedImage, error) {
	return s.images.Prune(ctx, unusedFor, dry)
}

// Ready is nil while the server can handle calls. An unreachable NAS does not matter: Validate reports it, and the manager
// keeps its VMs.
func (s *Server) Ready() error { return nil }
