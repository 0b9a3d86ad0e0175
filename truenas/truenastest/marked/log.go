package marked

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Log keeps all that is written to it, by several writers at the same time.
type Log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// Bytes is a copy of the written data.
func (l *Log) Bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.text.Bytes())
}

// Logger writes everything down, at the debug level, in both formats that there are.
func (l *Log) Logger() *zap.Logger {
	production, development := zap.NewProductionEncoderConfig(), zap.NewDevelopmentEncoderConfig()
	return zap.New(zapcore.NewTee(
		zapcore.NewCore(zapcore.NewJSONEncoder(production), zapcore.AddSync(l), zap.DebugLevel),
		zapcore.NewCore(zapcore.NewConsoleEncoder(development), zapcore.AddSync(l), zap.DebugLevel),
	), zap.AddCaller(), zap.AddStacktrace(zap.ErrorLevel))
}

// Absent fails the test for each secret that a text holds, and shows the first line that does.
func (s *Secrets) Absent(t testing.TB, who string, text []byte) {
	t.Helper()
	for _, name := range s.In(text) {
		t.Errorf("%s contains the %s:\n%.2000s", who, name, s.line(text))
	}
}

func (s *Secrets) line(text []byte) string {
	for line := range strings.Lines(string(text)) {
		if len(s.In([]byte(line))) > 0 {
			return line
		}
	}
	return ""
}
