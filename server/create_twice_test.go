package server_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// TestCreateRefusedAfterAnInterruptedOne: the second attempt completes the objects of the first one, until it is refused
// permanently. Then no incomplete object may be left that a third attempt treats as complete, and without a third attempt no object
// at all.
func TestCreateRefusedAfterAnInterruptedOne(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		for _, cut := range []string{"pool.dataset.create", "vm.create"} {
			clone := "pool.snapshot.clone"
			if release == "25.04.2" {
				clone = "zfs.snapshot.clone"
			}
			for _, refused := range []string{clone, "vm.device.create", "pool.dataset.create"} {
				t.Run(release+"/"+cut+", then "+refused, func(t *testing.T) {
					nas, address := truenastest.Serve(t, truenastest.Release(release))
					addImage(t, nas)
					client, _ := startProvider(t, address)
					nas.Inject(sim.Fault{Method: cut, Then: sim.CutBefore})
					if err := createWeb1(t.Context(), client); err == nil {
						t.Fatal("the first one succeeded")
					}
					nas.Inject(sim.Fault{Method: refused, Then: sim.Refuse, Err: &sim.CallError{Errno: 12, Reason: "[ENOMEM] no memory"}})
					if err := createWeb1(t.Context(), client); err == nil {
						t.Fatal("the second one succeeded")
					}
					between := nas.State()
					if err := createWeb1(t.Context(), client); err != nil {
						t.Fatal(err)
					}
					if left := len(between.VMs); left > 0 && cut == "pool.dataset.create" && refused != cut {
						t.Errorf("the second one left %d VMs", left)
					}
					wholeWeb1(t, nas.State())
				})
			}
		}
	}
}

// wholeWeb1 checks that every object that the VM's devices name exists.
func wholeWeb1(t *testing.T, state sim.State) {
	t.Helper()
	there := map[string]bool{}
	for _, d := range state.Datasets {
		if d.Volume {
			there["/dev/zvol/"+d.Name] = true
		}
		for _, file := range d.Files {
			there["/mnt/"+d.Name+"/"+file.Path] = true
		}
	}
	devices := 0
	for _, vm := range state.VMs {
		for _, d := range vm.Devices {
			path, ok := d.Attributes["path"].(string)
			if !ok {
				continue
			}
			if devices++; !there[path] {
				t.Errorf("VM %s has %s, which does not exist", vm.Name, path)
			}
		}
	}
	if devices < 3 {
		t.Errorf("the VM has %d disks and drives", devices)
	}
}

// TestTwoReplicasCreateOneNIC: a replica that was stopped amid its calls leaves device calls in flight, which the NAS
// carries out after the other replica has created the same devices. From 26 on TrueNAS refuses the second NIC with one
// MAC address as invalid; Create treats that as an existing NIC.
func TestTwoReplicasCreateOneNIC(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			first, second, _, nas := replicas(t, release)
			addImage(t, nas)
			begun := nas.Inject(sim.Fault{Method: "vm.device.create", Then: sim.Delay, Delay: 2 * time.Second})
			for range 3 {
				nas.Inject(sim.Fault{Method: "vm.device.create", Then: sim.Delay, Delay: 2 * time.Second})
			}
			ended := make(chan error, 1)
			go func() { ended <- createWeb1(t.Context(), first) }()
			select {
			case <-begun:
			case err := <-ended:
				t.Fatalf("the first Create ended early: %v", err)
			}
			for _, err := range []error{createWeb1(t.Context(), second), <-ended} {
				if code := status.Code(err); err != nil && code != codes.Aborted && code != codes.Unavailable {
					t.Errorf("a Create beside another one: %v; want success, or a code that callers retry", err)
				}
			}
			if err := createWeb1(t.Context(), second); err != nil {
				t.Fatal(err)
			}
			wholeWeb1(t, nas.State())
		})
	}
}

// TestCreateLosesItsDataset: the NAS may execute the cleanup of a refused Create, by a process that was killed meanwhile, while
// the next Create runs. The next attempt creates the dataset again; the request itself was valid.
func TestCreateLosesItsDataset(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		for _, method := range []string{"pool.dataset.create", "snapshot.clone"} {
			t.Run(release+"/"+method, func(t *testing.T) {
				nas, address := truenastest.Serve(t, truenastest.Release(release))
				addImage(t, nas)
				client, _ := startProvider(t, address)
				var gone atomic.Bool
				nas.OnCall(func(_ int, m string) {
					if !strings.HasSuffix(m, method) || gone.Load() {
						return
					}
					// The first call may be the one that creates the dataset.
					gone.Store(nas.RemoveDataset("tank/virtrigaud/vms/web_1") == nil)
				})
				req := web1() // Without a seed, whose upload would create the folder again.
				req.UserData, req.NetworksJson = nil, `[{"Bridge":"br0"}]`
				_, err := client.Create(t.Context(), req)
				nas.OnCall(nil)
				if code := status.Code(err); code != codes.Aborted {
					t.Errorf("got %v, want Aborted", err)
				}
				if _, err := client.Create(t.Context(), req); err != nil {
					t.Fatal(err)
				}
				if vm := nas.VMs()[0]; len(vm.Devices) != 3 {
					t.Errorf("the VM has the devices %v", vm.Devices)
				}
			})
		}
	}
}
