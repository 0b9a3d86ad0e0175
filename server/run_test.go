package server_test

import (
	"context"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
)

// TestEarlyStopIsNotAFault ends a provider before it has reached its NAS: the log reports no fault.
func TestEarlyStopIsNotAFault(t *testing.T) {
	t.Parallel()
	nas, err := truenas.New(truenas.Config{URL: "https://127.0.0.1:1", Username: sim.DefaultUser, APIKey: sim.DefaultAPIKey, ConnectWait: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nas.Close() }()
	core, logs := observer.New(zapcore.WarnLevel)
	s, err := server.New(nas, server.Config{ID: "nas", Dataset: "tank/virtrigaud", Instance: "replica-1", Logger: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	for _, entry := range logs.All() {
		t.Errorf("logged %s: %v", entry.Message, entry.ContextMap())
	}
}
