package intime

import (
	"errors"
	"testing"
	"time"
)

// judged records the outcome of a test.
type judged struct {
	testing.TB
	failed bool
}

func (j *judged) Error(...any) { j.failed = true }

func TestTry(t *testing.T) {
	for _, tt := range []struct {
		name  string
		needs time.Duration
		fails bool
		tries int
	}{
		{"a quick machine", time.Second, false, 1},
		{"a slow machine", 20 * time.Second, false, 4},
		{"what is wrong", time.Hour, true, 4},
	} {
		j, tried := &judged{TB: t}, 0
		Try(j, time.Second, func(enough time.Duration) error {
			tried++
			if enough < tt.needs {
				return errors.New("too slow")
			}
			return nil
		})
		if j.failed != tt.fails || tried != tt.tries {
			t.Errorf("%s: failed: %v, after %d tries", tt.name, j.failed, tried)
		}
	}
}
