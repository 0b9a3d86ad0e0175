package main

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"virtrigaud-provider-truenas/cmd/internal/configcheck"
	"virtrigaud-provider-truenas/truenas/sim"
)

func checkConfig(ctx context.Context, args []string, lookupEnv func(string) (string, bool), out io.Writer) error {
	return configcheck.Program{Name: "virtrigaud-provider-truenas"}.Run(ctx, args, lookupEnv, out)
}

// loginTakes is longer than a call waits for a NAS that is away.
const loginTakes = 6 * time.Second

// TestCommandsWaitForTheLogin: a NAS that takes long to log somebody in is not away.
func TestCommandsWaitForTheLogin(t *testing.T) {
	for _, tt := range []struct {
		name string
		run  func(context.Context, []string, func(string) (string, bool), io.Writer) error
		args []string
		want string
	}{
		{"doctor", runDoctor, nil, "nothing to remove"},
		{"prune-images", runPrune, []string{"--images-unused-for=1h"}, "0 images removed"},
		{"config check", checkConfig, []string{"check"}, "accepted; roles: FULL_ADMIN"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			nas, err := startSimulator(simulatorFlags{release: "25.10"})
			if err != nil {
				t.Fatal(err)
			}
			defer nas.close()
			nas.Inject(sim.Fault{Method: "auth.login_ex", Then: sim.Delay, Delay: loginTakes})
			env := nas.environment(func(string) (string, bool) { return "", false })
			var out strings.Builder
			if err := tt.run(t.Context(), tt.args, env, &out); err != nil {
				t.Error(err)
			}
			if !strings.Contains(out.String(), tt.want) {
				t.Errorf("got %s, want %s", out.String(), tt.want)
			}
		})
	}
}
