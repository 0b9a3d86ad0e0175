package disk

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// retried repeats attempt until it succeeds, fails permanently, or has failed as often as the policy allows. It retries only after
// ErrUnavailable.
func retried[T any](ctx context.Context, p RetryPolicy, notify backoff.Notify, attempt func() (T, error)) (T, error) {
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval = p.MinWait
	waits.MaxInterval = p.MaxWait
	once := func() (T, error) {
		result, err := attempt()
		if err != nil && !errors.Is(err, ErrUnavailable) {
			err = backoff.Permanent(err)
		}
		return result, err
	}
	result, err := backoff.Retry(ctx, once,
		backoff.WithBackOff(waits),
		backoff.WithMaxTries(p.Attempts),
		backoff.WithMaxElapsedTime(0),
		backoff.WithNotify(notify))
	if err == nil {
		return result, nil
	}
	if permanent, ok := errors.AsType[*backoff.PermanentError](err); ok {
		err = permanent.Unwrap()
	}
	return result, interrupted(ctx, err)
}

// later is an error with a pause that the server requested. backoff finds the pause inside it.
type later struct {
	error
	pause time.Duration
}

// Unwrap returns the cause and the pause.
func (l later) Unwrap() []error {
	return []error{l.error, &backoff.RetryAfterError{Duration: l.pause}}
}
