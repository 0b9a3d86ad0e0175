package server_test

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// TestFirstCallsWaitForTheLogin: calls during the login of a provider wait for it, and are not refused.
func TestFirstCallsWaitForTheLogin(t *testing.T) {
	t.Parallel()
	const absent = "00000000-0000-4000-8000-000000000000"
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			for name, call := range rpcs(absent) {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					nas, address := truenastest.Serve(t, truenastest.Release(release))
					nas.Inject(sim.Fault{Method: "auth.login_ex", Then: sim.Delay, Delay: time.Second})
					client := withKey(t, address, func(c *truenas.Config) { c.ConnectWait, c.PlainLogin = 50*time.Millisecond, true })
					ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
					defer cancel()
					if err := call(ctx, client); unavailableCode(err) {
						t.Errorf("refused while the login is under way: %v", err)
					}
				})
			}
		})
	}
}

// unavailableCode reports whether a failure counts towards the manager's circuit breaker.
func unavailableCode(err error) bool {
	code := status.Code(err)
	return code == codes.Unavailable || code == codes.DeadlineExceeded
}
