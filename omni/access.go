package omni

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ErrKeyRejected is returned by [Provisioner.Run] when Omni has rejected the service account's key for Config.KeyPatience:
// the provider was deleted in Omni, or its key was renewed.
var ErrKeyRejected = errors.New("omni rejects the service account key")

// defaultKeyPatience bounds how long a rejected key is retried, because a proxy in front of Omni that restarts may reject it too.
const defaultKeyPatience = 5 * time.Minute

// access records whether Omni accepted the service account's key in the last call.
type access struct {
	mu       sync.Mutex
	rejected time.Time // of the first rejection since the last success; zero while the key is accepted
	cause    error
}

// note records the result of a call to Omni. Errors that are unrelated to the key are ignored.
func (a *access) note(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case err == nil:
		a.rejected, a.cause = time.Time{}, nil
	case isRejection(err):
		a.cause = err
		if a.rejected.IsZero() {
			a.rejected = time.Now()
		}
	}
}

// state returns the time of the first rejection and its cause, or the zero time while the key is accepted.
func (a *access) state() (since time.Time, cause error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rejected, a.cause
}

// isRejection reports whether Omni rejected the key. Omni 1.9 returns "invalid signature" after the provider was deleted.
func isRejection(err error) bool {
	var coded interface{ GRPCStatus() *status.Status }
	return errors.As(err, &coded) && coded.GRPCStatus().Code() == codes.Unauthenticated
}

// Ready returns an error that wraps [ErrKeyRejected] while Omni rejects the service account's key.
func (p *Provisioner) Ready() error {
	if since, cause := p.access.state(); !since.IsZero() {
		return ExplainRejection(cause, p.cfg.ID)
	}
	return nil
}

// ExplainRejection adds the remedy to an error of a call to Omni that rejected the key of the provider with that id. The
// result wraps [ErrKeyRejected]; any other error is returned as it is.
func ExplainRejection(err error, id string) error {
	if !isRejection(err) {
		return err
	}
	return fmt.Errorf("%w (the provider was deleted in Omni, or its key was renewed): run \"omnictl infraprovider renewkey %s\", or create the provider again, and restart with the new key: %w",
		ErrKeyRejected, id, err)
}
