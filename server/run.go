package server

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// pruneEvery is how often unused images are looked for.
const pruneEvery = time.Hour

// Run does what nobody asks for: it connects to the NAS, so that a mistake in the configuration
// shows in the log at once, marks its dataset as this installation's, and removes unused images where that is configured. It ends with
// ctx, and never because the NAS is away.
func (s *Server) Run(ctx context.Context) error {
	if err := s.health.check(ctx); err != nil {
		s.log.Warn("TrueNAS cannot be used yet", zap.Error(err))
	}
	s.RenewClaim(ctx)
	for sleep(ctx, pruneEvery) == nil {
		s.RenewClaim(ctx)
		if s.cfg.UnusedImages <= 0 {
			continue
		}
		if _, err := s.PruneImages(ctx, s.cfg.UnusedImages, false); err != nil {
			s.log.Warn("cannot remove unused images", zap.Error(err))
		}
	}
	return nil
}

// Ready is nil while calls can be answered. That the NAS is away does not matter: Validate says
// so, and the manager keeps its VMs.
func (s *Server) Ready() error { return nil }
