package program

import "go.uber.org/zap"

// Logger writes to the standard error. The level is one of zap's names, the format "console" or "text", or anything else for JSON.
func Logger(level, format string) (*zap.Logger, error) {
	z := zap.NewProductionConfig()
	if format == "console" || format == "text" {
		z = zap.NewDevelopmentConfig()
		z.Development, z.DisableCaller = false, true
	}
	z.DisableStacktrace, z.Sampling = true, nil
	if err := z.Level.UnmarshalText([]byte(level)); err != nil {
		return nil, err
	}
	return z.Build()
}
