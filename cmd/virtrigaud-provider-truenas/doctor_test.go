package main

import (
	"bytes"
	"sync/atomic"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"virtrigaud-provider-truenas/truenas/sim"
)

// lateClock is a NAS clock that is a day behind until it is corrected, so that objects made before are then a day old.
type lateClock struct{ right atomic.Bool }

func (l *lateClock) Now() time.Time {
	if l.right.Load() {
		return time.Now()
	}
	return time.Now().Add(-24 * time.Hour)
}

func (*lateClock) AfterFunc(d time.Duration, fn func()) func() bool {
	return time.AfterFunc(d, fn).Stop
}

// leftovers starts a NAS for the script, with objects of this provider, of another one, and without an owner.
func leftovers(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: leftovers")
	}
	clock := &lateClock{}
	nas, err := sim.New(sim.Config{Clock: clock})
	ts.Check(err)
	ts.Defer(nas.Close)
	server, err := sim.Serve(nas, "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(server.Close)
	marks := func(provider, name, machine string) map[string]string {
		return map[string]string{"virtrigaud:provider": provider, "virtrigaud:name": name, "virtrigaud:machine": machine}
	}
	for _, d := range []struct {
		name  string
		props map[string]string
	}{
		{"tank/virtrigaud", nil},
		{"tank/virtrigaud/vms", nil},
		{"tank/virtrigaud/vms/web", marks("truenas", "web", "39ab2180-19ba-4263-97ed-19800a849970")},
		{"tank/virtrigaud/vms/another", marks("another", "another", "0c57c616-3de4-493f-b831-d129d19d1852")},
		{"tank/virtrigaud/vms/unmarked", nil},
		{"tank/virtrigaud/staging", nil},
		{"tank/virtrigaud/staging/key", marks("truenas", "debian12", "")},
	} {
		ts.Check(nas.AddDataset(d.name, d.props))
	}
	ts.Check(nas.WriteFile("/mnt/tank/virtrigaud/staging/key/image.raw", bytes.Repeat([]byte("image "), 1<<18)))
	clock.right.Store(true)
	for name, value := range map[string]string{
		"TRUENAS_URL": server.URL, "TRUENAS_FINGERPRINT": server.Fingerprint, "TRUENAS_USERNAME": sim.DefaultUser,
		"TRUENAS_API_KEY": sim.DefaultAPIKey, "PROVIDER_DATASET": "tank/virtrigaud",
	} {
		ts.Setenv(name, value)
	}
}
