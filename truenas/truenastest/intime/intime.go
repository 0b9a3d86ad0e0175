// Package intime is for tests that depend on the clock, for example that two calls overlap. Such a test names the time that a
// fast machine needs, and has to pass with that time or, on a machine that is slow at the moment, with more:
//
//	intime.Try(t, 50*time.Millisecond, func(enough time.Duration) error { … })
//
// A real fault persists with any amount of time.
package intime

import (
	"testing"
	"time"
)

const tries = 4

// Try tries with the time given and, after an error, with four times as much, up to 64 times.
func Try(t testing.TB, enough time.Duration, try func(enough time.Duration) error) {
	t.Helper()
	var err error
	for range tries {
		if err = try(enough); err == nil {
			return
		}
		t.Logf("with %v: %v", enough, err)
		enough *= 4
	}
	t.Error(err)
}
