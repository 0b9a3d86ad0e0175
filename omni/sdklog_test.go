package omni

import (
	"errors"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestRetriesAreNotLoggedAsErrors(t *testing.T) {
	core, logs := observer.New(zapcore.InfoLevel)
	log := sdkLogger(zap.New(core)).With(zap.String("controller", "c"))
	log.Error(sdkReconcileFailed, zap.Error(errors.New("backend restarts")))
	log.Error("machine provision failed")
	log.Debug("not shown")
	want := []struct {
		message string
		level   zapcore.Level
	}{{reconcileRetried, zapcore.InfoLevel}, {"machine provision failed", zapcore.ErrorLevel}}
	got := logs.All()
	if len(got) != len(want) {
		t.Fatalf("logged %v", got)
	}
	for i, w := range want {
		if got[i].Message != w.message || got[i].Level != w.level || got[i].ContextMap()["controller"] != "c" {
			t.Errorf("logged %s %q with %v; want %s %q", got[i].Level, got[i].Message, got[i].ContextMap(), w.level, w.message)
		}
	}
}
