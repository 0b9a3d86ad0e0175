package marked

import (
	"bytes"
	"sync"
	"testing"

	"go.uber.org/zap"
)

func TestLogKeepsAll(t *testing.T) {
	var log Log
	logger := log.Logger()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { logger.Debug("one", zap.String("key", "value")) })
	}
	all.Wait()
	for _, format := range []string{`"key":"value"`, `{"key": "value"}`} {
		if n := bytes.Count(log.Bytes(), []byte(format)); n != 8 {
			t.Errorf("%d lines with %s in\n%s", n, format, log.Bytes())
		}
	}
}

// blamed counts the errors that a test reports.
type blamed struct {
	testing.TB
	times int
}

func (b *blamed) Helper()               {}
func (b *blamed) Errorf(string, ...any) { b.times++ }

func TestAbsent(t *testing.T) {
	marks := New()
	one, two := marks.Secret("one"), marks.Secret("two")
	for _, tt := range []struct {
		name, text string
		want       int
	}{
		{"none", "nothing to see\n", 0},
		{"one", "a line\nkey=" + one + "\n", 1},
		{"both on lines of their own", one + "\n" + two + "\n", 2},
		{"one of two lines", one[:16] + "\n" + one[16:], 0},
	} {
		b := &blamed{TB: t}
		marks.Absent(b, "the log", []byte(tt.text))
		if b.times != tt.want {
			t.Errorf("%s: %d were found, want %d", tt.name, b.times, tt.want)
		}
	}
}
