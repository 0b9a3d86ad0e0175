package server_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// withKey returns a provider with a changed login.
func withKey(t *testing.T, server *sim.Server, change func(*truenas.Config)) providerv1.ProviderClient {
	t.Helper()
	cfg := truenastest.Config(server)
	cfg.ConnectWait, cfg.PlainLogin = 10*time.Second, false
	change(&cfg)
	api, err := truenas.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = api.Close() })
	client, _ := serve(t, api)
	return client
}

// rpcs are calls of every kind that all need the NAS.
func rpcs(id string) map[string]func(context.Context, providerv1.ProviderClient) error {
	return map[string]func(context.Context, providerv1.ProviderClient) error{
		"Create": func(ctx context.Context, c providerv1.ProviderClient) error {
			_, err := c.Create(ctx, wanted("web-1"))
			return err
		},
		"Describe": func(ctx context.Context, c providerv1.ProviderClient) error {
			_, err := c.Describe(ctx, &providerv1.DescribeRequest{Id: id})
			return err
		},
		"Power": func(ctx context.Context, c providerv1.ProviderClient) error {
			_, err := c.Power(ctx, &providerv1.PowerRequest{Id: id, Op: providerv1.PowerOp_POWER_OP_ON})
			return err
		},
		"Delete": func(ctx context.Context, c providerv1.ProviderClient) error {
			_, err := c.Delete(ctx, &providerv1.DeleteRequest{Id: id})
			return err
		},
		"ListVMs": func(ctx context.Context, c providerv1.ProviderClient) error {
			_, err := c.ListVMs(ctx, &providerv1.ListVMsRequest{})
			return err
		},
	}
}

// TestRefusedKeys checks that a refused key is not reported as an outage, because a retry does not help.
func TestRefusedKeys(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		for _, tt := range []struct {
			name   string
			change func(*truenas.Config)
			expire bool
			says   string
		}{
			{"another key", func(c *truenas.Config) { c.APIKey = "1-" + strings.Repeat("x", 64) }, false, "key"},
			{"another user", func(c *truenas.Config) { c.Username = "stranger" }, false, "key"},
			{"an expired key", func(*truenas.Config) {}, true, "expired"},
		} {
			t.Run(release+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				nas, address := truenastest.Serve(t, truenastest.Release(release))
				if tt.expire {
					nas.ExpireKey(sim.DefaultUser)
				}
				client := withKey(t, address, tt.change)
				for name, call := range rpcs(absentID) {
					t.Run(name, func(t *testing.T) {
						untouched(t, nas, func() error { return call(t.Context(), client) }, codes.PermissionDenied, tt.says)
					})
				}
			})
		}
	}
}

// TestMissingRoles expects a refusal that names the role, and the removal of the objects that were made before it.
func TestMissingRoles(t *testing.T) {
	t.Parallel()
	reader := []string{"VM_READ", "VM_DEVICE_READ", "DATASET_READ", "SNAPSHOT_READ", "NETWORK_INTERFACE_READ"}
	writer := append([]string{"VM_WRITE", "VM_DEVICE_WRITE", "DATASET_WRITE", "DATASET_DELETE", "SNAPSHOT_WRITE"}, reader...)
	for _, release := range releases {
		for _, tt := range []struct {
			name  string
			roles []string
			call  string
		}{
			{"nothing at all, to make", nil, "Create"},
			{"reading, to make", reader, "Create"},
			{"storage, to make", append([]string{"DATASET_WRITE", "DATASET_DELETE"}, reader...), "Create"},
			{"machines, to make", append([]string{"VM_WRITE", "VM_DEVICE_WRITE"}, reader...), "Create"},
			{"all but uploads, to make one with a seed", writer, "Create"},
			{"reading, to start", reader, "Power"},
			{"reading, to delete", reader, "Delete"},
			{"nothing at all, to list", nil, "ListVMs"},
		} {
			t.Run(release+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				client, nas := onRelease(t, release)
				created, err := client.Create(t.Context(), unnamedBlank("there"))
				if err != nil {
					t.Fatal(err)
				}
				nas.SetRoles(sim.DefaultUser, tt.roles...)
				call := rpcs(created.GetId())[tt.call]
				untouched(t, nas, func() error { return call(t.Context(), client) }, codes.PermissionDenied, "permission denied")
			})
		}
	}
}

func unnamedBlank(name string) *providerv1.CreateRequest {
	req := wanted(name)
	req.UserData = nil
	return req
}

// TestUnsupportedRelease expects an error that names the supported releases.
func TestUnsupportedRelease(t *testing.T) {
	t.Parallel()
	nas, address := truenastest.Serve(t, func(c *sim.Config) { c.Release, c.Versions = "25.04.2", []string{"v25.04.0", "v25.04.1"} })
	old := withKey(t, address, func(*truenas.Config) {})
	for name, call := range rpcs(absentID) {
		t.Run(name, func(t *testing.T) {
			untouched(t, nas, func() error { return call(t.Context(), old) }, codes.FailedPrecondition, "25.04.2")
		})
	}
}
