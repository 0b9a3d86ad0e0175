package program

import "go.uber.org/zap"

// Logger writes to the standard error. level is one of zap's levels. format is "console" or "text"; anything else selects JSON.
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
