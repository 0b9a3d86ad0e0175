package inventory

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/singleflight"
)

// Share lets concurrent callers with the same key share a call to the NAS. The call continues when one of its callers is
// cancelled, since others may wait for it; [CallTimeout] bounds it.
func Share[T any](ctx context.Context, flight *singleflight.Group, key string, call func(context.Context) (T, error)) (T, error) {
	found := flight.DoChan(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), CallTimeout)
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
		return none, fmt.Errorf("TrueNAS is slow: no reply to a shared query yet: %w", ctx.Err())
	}
}
