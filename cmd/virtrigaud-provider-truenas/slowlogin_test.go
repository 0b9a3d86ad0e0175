package main

import (
	"strings"
	"testing"
	"time"

	"virtrigaud-provider-truenas/truenas/sim"
)

// loginTakes is longer than a call waits for an unreachable NAS.
const loginTakes = 6 * time.Second

// A NAS with a slow login is not down, so the commands wait for it.
func TestCommandsWaitForTheLogin(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"doctor", []string{"doctor"}, "nothing to remove"},
		{"prune-images", []string{"prune-images", "--images-unused-for=1h"}, "0 images removed"},
		{"config check", []string{"config", "check"}, "accepted; roles: FULL_ADMIN"},
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
			if err := run(t.Context(), tt.args, env, nil, &out); err != nil {
				t.Error(err)
			}
			if !strings.Contains(out.String(), tt.want) {
				t.Errorf("got %s, want %s", out.String(), tt.want)
			}
		})
	}
}
