package omni

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"
)

// healthTimeout limits a health check, which delays the heartbeat by which Omni counts the provider as connected.
const healthTimeout = 10 * time.Second

// Health returns the current faults as a text for Omni's page: backends that are unusable or unreachable, missing machines, and
// failed removals.
func (p *Provisioner) Health(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	found := make([]string, len(p.providers))
	var wait sync.WaitGroup
	for i, b := range p.providers {
		wait.Go(func() {
			err := b.validate(ctx)
			b.note(ctx, err)
			if err != nil {
				found[i] = err.Error()
			}
		})
	}
	wait.Wait()
	found = append(slices.DeleteFunc(found, func(s string) bool { return s == "" }), p.troubles.texts()...)
	if len(found) == 0 {
		return nil
	}
	return errors.New(strings.Join(found, "; "))
}
