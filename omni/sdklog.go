package omni

import (
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// The SDK's controllers log every retry as an error, such as a version conflict or a backend that restarts. The steps report
// failures themselves, so the log shows a retry as a retry.
const (
	sdkReconcileFailed = "reconcile failed"
	reconcileRetried   = "reconcile will be retried"
)

// sdkLogger is the logger for the SDK's controllers.
func sdkLogger(log *zap.Logger) *zap.Logger {
	return log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core { return retryCore{core} }))
}

// retryCore lowers the level of the SDK's retries.
type retryCore struct{ zapcore.Core }

func (c retryCore) With(fields []zapcore.Field) zapcore.Core { return retryCore{c.Core.With(fields)} }

func (c retryCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if entry.Message == sdkReconcileFailed && entry.Level == zapcore.ErrorLevel {
		entry.Message, entry.Level = reconcileRetried, zapcore.InfoLevel
	}
	if !c.Enabled(entry.Level) {
		return checked
	}
	return checked.AddCore(entry, c)
}
