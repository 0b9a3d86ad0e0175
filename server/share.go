package server

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/singleflight"
)

// share lets all who want the same thing at the same time share one call to the NAS. The call outlives a caller who
// gives up, since others may be waiting for it.
func share[T any](ctx context.Context, flight *singleflight.Group, key string, call func(context.Context) (T, error)) (T, error) {
	found := flight.DoChan(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
		defer cancel()
		return call(ctx)
	})
	var none T
	select {
	case r := <-found:
		value, ok := r.Val.(T)
		if !ok {
			return none, r.Err
		}
		return value, r.Err
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.Canceled) {
			return none, ctx.Err()
		}
		return none, fmt.Errorf("TrueNAS is slow: no answer yet to what all who ask for it wait for together: %w", ctx.Err())
	}
}
