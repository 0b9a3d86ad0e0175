package server_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// verdicts returns the findings as "about verdict", one per line, in order.
func verdicts(found []server.Finding) string {
	var b strings.Builder
	for _, f := range found {
		fmt.Fprintf(&b, "%s %v\n", f.About, f.Verdict)
	}
	return b.String()
}

// about returns all findings about one subject, with their advice.
func about(found []server.Finding, what string) string {
	var b strings.Builder
	for _, f := range found {
		if f.About == what {
			fmt.Fprintf(&b, "%v %s -> %s\n", f.Verdict, f.Found, f.Advice)
		}
	}
	return b.String()
}

func TestPreflightFindsNothingWrong(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			api, nas := truenastest.New(t, truenastest.Release(release))
			_, s := serve(t, api, func(c *server.Config) { c.DefaultNetwork = "br0" })
			before := nas.State()
			found := s.Preflight(t.Context())
			for _, f := range found {
				if f.Verdict != server.Works || f.Advice != "" {
					t.Errorf("%+v", f)
				}
			}
			if !reflect.DeepEqual(before, nas.State()) {
				t.Error("the NAS changed")
			}
		})
	}
}

// tankAndFlash are those of the provider of choosing.
func tankAndFlash(c *sim.Config) {
	c.Pools = []sim.Pool{{Name: "tank", SizeBytes: 1 << 40}, {Name: "flash", SizeBytes: 1 << 39, Flash: true}}
}

// refusingOnce has the NAS refuse the first call of a method.
func refusingOnce(method string, errno int) func(*sim.Sim) error {
	return func(s *sim.Sim) error {
		s.Inject(sim.Fault{Method: method, Then: sim.Refuse, Err: &sim.CallError{Errno: errno, Reason: "[E] It is refused"}})
		return nil
	}
}

// TestPreflightAdvises: what cannot be read is a finding of its own, and what the key may not read has the remedy.
func TestPreflightAdvises(t *testing.T) {
	for errno, advice := range map[int]string{14: "run the check again", 13: "give the role to the user of the API key"} {
		for method, what := range map[string]string{"pool.dataset.get_instance": "pool", "vm.device.nic_attach_choices": "network", "vm.get_available_memory": "memory"} {
			api, nas := truenastest.New(t)
			must(t, refusingOnce(method, errno)(nas))
			_, s := serve(t, api)
			if got := about(s.Preflight(t.Context()), what); !strings.Contains(got, "-> "+advice) {
				t.Errorf("%s with errno %d: %s", method, errno, got)
			}
		}
	}
}

func TestPreflightFinds(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		nas   func(*sim.Config)
		made  func(*sim.Sim) error
		cfg   func(*server.Config)
		what  string
		wants string
	}{
		{"another pool", nil, nil, func(c *server.Config) { c.Dataset = "big/vms" }, "pool", `2 the NAS has no pool "big" -> set storage.dataset or storage.pool; the NAS has tank`},
		{"a dataset that is there", nil, func(s *sim.Sim) error { return s.AddDataset("tank/virtrigaud", nil) }, nil, "dataset", "0 tank/virtrigaud ->"},
		{"a volume in its place", nil, func(s *sim.Sim) error { return s.AddVolume("tank/virtrigaud", 1<<30, nil) }, nil, "dataset", "2 tank/virtrigaud is a volume"},
		{"a small pool", func(c *sim.Config) { c.Pools = []sim.Pool{{Name: "tank", SizeBytes: 10 << 30}} }, nil, nil, "space", "1 9."},
		{"no default network", nil, nil, nil, "network", "1 no default: a VM whose network names no bridge is refused -> set network.default_nic to one of br0, br20"},
		{"another bridge", nil, nil, func(c *server.Config) { c.DefaultNetwork = "br7" }, "network", `2 the NAS has no "br7"`},
		{"an interface that is not a bridge", func(c *sim.Config) {
			c.Release, c.Interfaces = "26", []sim.Interface{{Name: "eno1", Type: "PHYSICAL"}}
		}, nil, func(c *server.Config) { c.DefaultNetwork = "eno1" }, "network", "1 eno1 is not a bridge"},
		{"little memory", func(c *sim.Config) { c.MemoryBytes = 1 << 29 }, nil, nil, "memory", "1 0."},
		{"just enough memory", func(c *sim.Config) { c.MemoryBytes = 1 << 30 }, nil, nil, "memory", "0 1.0 GiB for VMs -> \n"},
		{"a locked dataset", nil, func(s *sim.Sim) error {
			return errors.Join(s.AddDataset("tank/virtrigaud", nil), s.Encrypt("tank/virtrigaud", true), s.SetLocked("tank/virtrigaud", true))
		}, nil, "dataset", "2 tank/virtrigaud is encrypted and locked -> unlock it in TrueNAS"},
		{"a pool with a fault", func(c *sim.Config) { c.Pools = []sim.Pool{{Name: "tank", SizeBytes: 1 << 40, Degraded: true}} }, nil, nil, "pool", "1 tank is DEGRADED -> check Storage in TrueNAS"},
		{"a choice of pools", tankAndFlash, nil, choosing, "pools", "0 VMs that name none are placed on one of tank, flash, now on tank (rule: "},
		{"an allowed pool that is absent", nil, nil, choosing, "pools", `1 the NAS has no pool "flash" -> import the pool, or remove it from storage.allowed_pools` + "\n0 VMs that name none"},
		{"no pool that the rule selects", tankAndFlash, nil, choosingBy(`name == "none"`), "pools", "1 storage.choose_pool: no pool is suitable"},
		{"the pool cannot be read", nil, refusingOnce("pool.dataset.get_instance", 14), nil, "pool", "2 "},
		{"the pool must not be read", nil, refusingOnce("pool.dataset.get_instance", 13), nil, "pool", "2 "},
		{"the pool's state cannot be read", nil, refusingOnce("pool.query", 14), nil, "pool", "2 "},
		{"the pool's state must not be read", nil, refusingOnce("pool.query", 13), nil, "pool", "0 tank; health unknown: the key needs the role POOL_READ"},
		{"the dataset cannot be read", nil, func(s *sim.Sim) error {
			s.Inject(sim.Fault{Method: "pool.dataset.get_instance", Nth: 2, Then: sim.Refuse, Err: &sim.CallError{Errno: 14, Reason: "[EFAULT] no"}})
			return nil
		}, nil, "dataset", "2 "},
		{"the networks cannot be read", nil, refusingOnce("vm.device.nic_attach_choices", 14), nil, "network", "2 "},
		{"the memory must not be read", nil, refusingOnce("vm.get_available_memory", 13), nil, "memory", "2 "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			api, nas := truenastest.New(t, func(c *sim.Config) {
				if tt.nas != nil {
					tt.nas(c)
				}
			})
			if tt.made != nil {
				if err := tt.made(nas); err != nil {
					t.Fatal(err)
				}
			}
			_, s := serve(t, api, func(c *server.Config) {
				if tt.cfg != nil {
					tt.cfg(c)
				}
			})
			found := s.Preflight(t.Context())
			if got := about(found, tt.what); !strings.HasPrefix(got, tt.wants) {
				t.Errorf("got %s, want %s; in all\n%s", got, tt.wants, verdicts(found))
			}
		})
	}
}

// TestPreflightReportsRights: a needed feature without its roles is a failure, any other is not.
func TestPreflightReportsRights(t *testing.T) {
	t.Parallel()
	api, _ := truenastest.New(t, func(c *sim.Config) {
		c.Keys = []sim.Key{{Username: sim.DefaultUser, APIKey: sim.DefaultAPIKey, Roles: []string{"VM_WRITE", "VM_DEVICE_READ", "DATASET_WRITE"}}}
	})
	_, s := serve(t, api)
	const seeds = "1 Cloud-init data and static addresses: not allowed -> to use it, give the user of the API key the role FULL_ADMIN\n"
	got := about(s.Preflight(t.Context()), "rights")
	for _, want := range []string{"0 See VMs -> \n", "2 Create and reconfigure VMs: not allowed -> give the user of the API key the role VM_DEVICE_WRITE\n", seeds} {
		if !strings.Contains(got, want) {
			t.Errorf("got\n%swant %s", got, want)
		}
	}
	if got := about(s.Preflight(t.Context(), server.Seeds), "rights"); !strings.Contains(got, "2 Cloud-init data") {
		t.Errorf("the need for seeds makes no difference:\n%s", got)
	}
}

// TestPreflightOfAFailedLogin: one finding names the cause and the remedy.
func TestPreflightOfAFailedLogin(t *testing.T) {
	t.Parallel()
	nas, address := truenastest.Serve(t)
	old, oldAddress := truenastest.Serve(t, func(c *sim.Config) { c.Versions = []string{"v25.04.0"} })
	defer old.Close()
	for _, tt := range []struct {
		name  string
		cfg   truenas.Config
		wants string
	}{
		{"another key", truenas.Config{URL: address.URL, Fingerprint: address.Fingerprint, Username: sim.DefaultUser, APIKey: "1-" + strings.Repeat("x", 64)}, "login 2\n"},
		{"a certificate that is not known", truenas.Config{URL: address.URL, Username: sim.DefaultUser, APIKey: sim.DefaultAPIKey}, "certificate 2\n"},
		{"a release without VMs", truenastest.Config(oldAddress), "release 2\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			api, err := truenas.New(tt.cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer api.Close()
			_, s := serve(t, api)
			found := s.Preflight(t.Context())
			if got := verdicts(found); got != tt.wants || found[0].Advice == "" {
				t.Errorf("got %s%+v", got, found)
			}
		})
	}
	if calls := nas.Calls(); len(calls) > 0 {
		t.Errorf("the NAS was asked %v", calls)
	}
}
