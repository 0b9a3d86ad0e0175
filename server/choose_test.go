package server_test

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// choosing makes a provider choose between two pools.
func choosing(c *server.Config) { c.AllowedPools = []string{"tank", "flash"} }

// choiceOptions configure a provider for a NAS with one of two allowed pools.
var choiceOptions = []func(*server.Config){choosing}

func choosingBy(rule string) func(*server.Config) {
	return func(c *server.Config) { choosing(c); c.ChoosePool = rule }
}

// threePools returns a provider over a NAS with a large pool of rotating disks, a smaller one of SSDs, and an even larger one that
// is not allowed.
func threePools(t *testing.T, release string, opts ...func(*server.Config)) (providerv1.ProviderClient, *sim.Sim, *truenas.Client) {
	t.Helper()
	api, nas := truenastest.New(t, func(c *sim.Config) {
		c.Release = release
		c.Pools = []sim.Pool{{Name: "tank", SizeBytes: 1 << 40}, {Name: "flash", SizeBytes: 600 << 30, Flash: true}, {Name: "backup", SizeBytes: 8 << 40}}
	})
	client, _ := serve(t, api, append([]func(*server.Config){choosing}, opts...)...)
	return client, nas, api
}

// blank returns a VM without image, seed and pool.
func blank(name string) *providerv1.CreateRequest {
	req := wanted(name)
	req.UserData, req.NetworksJson = nil, `[{"Bridge":"br0"}]`
	return req
}

// homesOn lists the pools that have a dataset of a VM.
func homesOn(nas *sim.Sim, onNAS string) []string {
	var pools []string
	for _, d := range nas.State().Datasets {
		if pool, ok := strings.CutSuffix(d.Name, "/virtrigaud/vms/"+onNAS); ok {
			pools = append(pools, pool)
		}
	}
	slices.Sort(pools)
	return pools
}

func TestPoolIsChosen(t *testing.T) {
	t.Parallel()
	for _, release := range allReleases {
		for _, tt := range []struct {
			name, rule string
			want       string
		}{
			{"the one with most free space", "", "tank"},
			{"of flash", `kind == "flash"`, "flash"},
			{"of rotating disks", `kind == "rust"`, "tank"},
			{"small", `size < TiB`, "flash"},
			{"by name", `name == "flash" && healthy && !encrypted`, "flash"},
		} {
			t.Run(release+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				client, nas, _ := threePools(t, release, choosingBy(tt.rule))
				if _, err := client.Create(t.Context(), blank("web-1")); err != nil {
					t.Fatal(err)
				}
				if got := homesOn(nas, "web_1"); !slices.Equal(got, []string{tt.want}) {
					t.Errorf("the VM is on %v, want %s", got, tt.want)
				}
				if left := below(nas.State(), "tank/virtrigaud/staging/"); len(left) > 0 {
					t.Errorf("leftovers: %v", left)
				}
			})
		}
	}
}

// A degraded pool is not healthy, and the tree on a pool shows whether it is encrypted.
func TestChoiceKnowsTheStateOfPools(t *testing.T) {
	t.Parallel()
	for _, release := range allReleases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			api, nas := truenastest.New(t, func(c *sim.Config) {
				c.Release = release
				c.Pools = []sim.Pool{{Name: "tank", SizeBytes: 1 << 40, Degraded: true}, {Name: "flash", SizeBytes: 100 << 30}}
			})
			for _, step := range []error{nas.AddDataset("tank/virtrigaud", nil), nas.Encrypt("tank/virtrigaud", false)} {
				if step != nil {
					t.Fatal(step)
				}
			}
			healthy, _ := serve(t, api, choosing)
			if _, err := healthy.Create(t.Context(), blank("web-1")); err != nil {
				t.Fatal(err)
			}
			secret, _ := serve(t, api, choosingBy("encrypted"))
			if _, err := secret.Create(t.Context(), blank("web-2")); err != nil {
				t.Fatal(err)
			}
			if one, two := homesOn(nas, "web_1"), homesOn(nas, "web_2"); !slices.Equal(one, []string{"flash"}) || !slices.Equal(two, []string{"tank"}) {
				t.Errorf("web-1 is on %v, web-2 on %v", one, two)
			}
		})
	}
}

// A repeated Create finds the pool of an existing VM, even if the rule would choose another pool now: after the other pool has
// become the emptiest, or after a change of the rule.
func TestChoiceIsMadeOnce(t *testing.T) {
	t.Parallel()
	for _, release := range allReleases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			client, nas, api := threePools(t, release)
			first, err := client.Create(t.Context(), blank("web-1"))
			if err != nil {
				t.Fatal(err)
			}
			changed, _ := serve(t, api, choosingBy(`name == "flash"`))
			for range 2 {
				again, err := changed.Create(t.Context(), blank("web-1"))
				if err != nil || again.GetId() != first.GetId() {
					t.Fatalf("got %v, %v", again, err)
				}
			}
			narrowed, _ := serve(t, api, func(c *server.Config) { c.AllowedPools = []string{"flash"} })
			if _, err := narrowed.Create(t.Context(), blank("web-1")); err != nil {
				t.Errorf("a VM on a pool that is not allowed any more: %v", err)
			}
			if got := homesOn(nas, "web_1"); !slices.Equal(got, []string{"tank"}) {
				t.Errorf("the VM is on %v", got)
			}
			if _, err := changed.Delete(t.Context(), &providerv1.DeleteRequest{Id: first.GetId()}); err != nil || len(homesOn(nas, "web_1")) > 0 {
				t.Errorf("after Delete: %v, %v", err, homesOn(nas, "web_1"))
			}
		})
	}
}

// A Create that ended after its choice, and before the VM was complete, is completed on the chosen pool.
func TestChoiceOutlivesTheProcess(t *testing.T) {
	t.Parallel()
	for _, release := range allReleases {
		for calls := 1; calls <= 14; calls++ {
			t.Run(release+"/"+string(rune('a'+calls-1)), func(t *testing.T) {
				t.Parallel()
				client, nas, api := threePools(t, release)
				nas.Inject(sim.Fault{Nth: calls, Then: sim.CutAfter})
				_, _ = client.Create(t.Context(), blank("web-1"))
				nas.ClearFaults()
				began := homesOn(nas, "web_1")
				changed, _ := serve(t, api, choosingBy(`name == "flash"`))
				made, err := changed.Create(t.Context(), blank("web-1"))
				if err != nil {
					t.Fatal(err)
				}
				now := homesOn(nas, "web_1")
				if len(now) != 1 || len(began) > 0 && !slices.Equal(began, now) {
					t.Errorf("began on %v, and is on %v", began, now)
				}
				if left := below(nas.State(), "tank/virtrigaud/staging/"); len(left) > 0 {
					t.Errorf("leftovers: %v", left)
				}
				if _, err := changed.Delete(t.Context(), &providerv1.DeleteRequest{Id: made.GetId()}); err != nil || len(homesOn(nas, "web_1")) > 0 {
					t.Errorf("after Delete: %v, %v", err, homesOn(nas, "web_1"))
				}
			})
		}
	}
}

// Two replicas with different rules make one VM on one pool.
func TestReplicasChooseOnePool(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			one, nas, api := threePools(t, release)
			other, _ := serve(t, api, choosingBy(`name == "flash"`), func(c *server.Config) { c.Instance = "replica-2" })
			done := make(chan struct{})
			for _, client := range []providerv1.ProviderClient{one, other} {
				go func() {
					defer func() { done <- struct{}{} }()
					_, _ = client.Create(t.Context(), blank("web-1"))
				}()
			}
			<-done
			<-done
			for _, client := range []providerv1.ProviderClient{one, other} {
				if _, err := client.Create(t.Context(), blank("web-1")); err != nil {
					t.Fatal(err)
				}
			}
			if got := homesOn(nas, "web_1"); len(got) != 1 || len(nas.VMs()) != 1 {
				t.Errorf("the VM is on %v, and there are %d records", got, len(nas.VMs()))
			}
		})
	}
}

func TestNoPoolCanBeChosen(t *testing.T) {
	t.Parallel()
	client, nas, _ := threePools(t, "25.10", choosingBy("free > 5 * TiB"))
	before := settled(nas.State())
	_, err := client.Create(t.Context(), blank("web-1"))
	if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "flash: healthy true, encrypted false") {
		t.Errorf("got %v", err)
	}
	if after := settled(nas.State()); !reflect.DeepEqual(before, after) {
		t.Errorf("the NAS changed: %s", diff(t, before, after))
	}
}

// A pool that is not allowed is refused by name, for VMs and for images.
func TestPoolIsNotAllowed(t *testing.T) {
	t.Parallel()
	client, _, _ := threePools(t, "25.10")
	req := blank("web-1")
	req.PlacementJson = `{"Datastore":"backup"}`
	_, vm := client.Create(t.Context(), req)
	_, image := client.ImagePrepare(t.Context(), &providerv1.ImagePrepareRequest{ImageJson: `{"source":{"libvirt":{"url":"https://192.0.2.1/a.qcow2"}}}`, TargetName: "a", StorageHint: "backup"})
	for field, err := range map[string]error{"placement_json.Datastore": vm, "storage_hint": image} {
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), field) || !strings.Contains(err.Error(), `["tank" "flash"]`) {
			t.Errorf("%s: %v", field, err)
		}
	}
	req.PlacementJson = `{"Datastore":"flash"}`
	if _, err := client.Create(t.Context(), req); err != nil {
		t.Error(err)
	}
}

// A VM from an image on the NAS is placed on the image's pool, since a clone cannot leave its pool.
func TestPoolOfAnImage(t *testing.T) {
	t.Parallel()
	client, nas, _ := threePools(t, "27")
	for _, err := range []error{nas.AddVolume("flash/gold", 10<<30, nil), nas.AddSnapshot("flash/gold@v1")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	req := blank("web-1")
	req.ImageJson = `{"Path":"flash/gold@v1"}`
	if _, err := client.Create(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	if got := homesOn(nas, "web_1"); !slices.Equal(got, []string{"flash"}) {
		t.Errorf("the VM is on %v", got)
	}
}

// An expression with a mistake is refused at the start of the provider, with its position.
func TestRuleWithAMistake(t *testing.T) {
	t.Parallel()
	api, _ := truenastest.New(t)
	_, err := server.New(api, server.Config{ID: "test", Dataset: "tank/virtrigaud", AllowedPools: []string{"tank"}, ChoosePool: "healthy && fre > 1"})
	if err == nil || !strings.Contains(err.Error(), "storage.choose_pool: 1:12: undeclared reference to 'fre'") {
		t.Errorf("got %v", err)
	}
}

func chooseScenario(ctx context.Context, s *scenarioEnv) error {
	_, err := s.client.Create(ctx, blank("web-9"))
	return err
}

// A folder for images that is not absolute is refused at the start of the provider.
func TestRelativeFileRoot(t *testing.T) {
	api, _ := truenastest.New(t)
	_, err := server.New(api, server.Config{ID: "test", Dataset: "tank/virtrigaud", Disk: disk.Options{FileRoots: []string{"images"}}})
	if err == nil || !strings.Contains(err.Error(), `file root "images" is not an absolute path`) {
		t.Errorf("got %v", err)
	}
}
