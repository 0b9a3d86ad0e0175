package truenas_test

import (
	"context"
	"testing"
	"time"

	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

var releases = []string{"25.04.2", "25.10", "26", "27"}

// onEach runs a test against a simulated NAS of each release.
func onEach(t *testing.T, test func(t *testing.T, c *truenas.Client, nas *sim.Sim), config ...func(*sim.Config)) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			nas, address := truenastest.Serve(t, append(config, truenastest.Release(release))...)
			cfg := truenastest.Config(address)
			cfg.PlainLogin = false // The default of clients.
			c, err := truenas.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			test(t, c, nas)
		})
	}
}

func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// must returns a function that fails the test on an error. It is for preparations of a test.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
