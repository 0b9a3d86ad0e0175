package server_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// ofImage returns a Create of web-9 from an object on the NAS.
func ofImage(t *testing.T, client providerv1.ProviderClient, path string) func() error {
	return func() error {
		req := wanted("web-9")
		req.UserData, req.ClassJson, req.ImageJson = nil, `{"CPU":1,"MemoryMiB":512}`, fmt.Sprintf(`{"Path":%q}`, path)
		_, err := client.Create(t.Context(), req)
		return err
	}
}

// prepareOf returns an ImagePrepare of an object on the NAS.
func prepareOf(t *testing.T, client providerv1.ProviderClient, path string) func() error {
	return func() error {
		_, err := prepare(t, client, fmt.Sprintf(`{"source":{"libvirt":{"path":%q}}}`, path))
		return err
	}
}

// withOthersDisks makes a VM of this provider with a snapshot, a VM by hand, and volumes without a VM.
func withOthersDisks(t *testing.T, client providerv1.ProviderClient, nas *sim.Sim) {
	t.Helper()
	withSnapshot(t, client, nas)
	if err := errors.Join(
		nas.AddDataset("tank/old", nil),
		nas.AddVolume("tank/old/disk0", 1<<30, nil),
		nas.AddSnapshot("tank/old/disk0@v1"),
		nas.AddVM("by_hand", 1, 512, "tank/old/disk0"),
		nas.AddVolume("tank/old/free", 1<<30, nil),
		nas.AddSnapshot("tank/old/free@v1"),
		nas.AddDataset("tank/old/images", nil),
		nas.AddVolume("tank/old/images/disk", 1<<30, nil),
		nas.AddSnapshot("tank/old/images/disk@ready"),
	); err != nil {
		t.Fatal(err)
	}
}

func TestImagesByPathAreConfined(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			api, nas := truenastest.New(t, truenastest.Release(release))
			client, _ := serve(t, api)
			withOthersDisks(t, client, nas)
			plain, _ := serve(t, api, func(c *server.Config) { c.NASPaths = nil })
			for _, path := range []string{"tank/old/free", "tank/old/free@v1", "/dev/zvol/tank/old/free", "tank/old/images/disk", "tank/templates/gold@v1"} {
				untouched(t, nas, ofImage(t, plain, path), codes.InvalidArgument, "image_json.Path", "images.nas_paths")
				untouched(t, nas, prepareOf(t, plain, path), codes.InvalidArgument, "image_json.source.libvirt.path", "images.nas_paths")
			}
			// Another VM's disk is refused whatever the operator allows.
			wide, _ := serve(t, api, func(c *server.Config) { c.NASPaths = []string{"tank"} })
			const root1, used = "tank/virtrigaud/vms/web_1/root", "tank/old/disk0"
			for _, path := range []string{root1, root1 + "@s1", "/dev/zvol/" + root1 + "@s1", "tank/virtrigaud/vms/web_1@s1"} {
				untouched(t, nas, ofImage(t, wide, path), codes.InvalidArgument, "another VM")
				untouched(t, nas, prepareOf(t, wide, path), codes.InvalidArgument, "another VM")
			}
			for _, path := range []string{used, used + "@v1", "/dev/zvol/" + used} {
				untouched(t, nas, ofImage(t, wide, path), codes.FailedPrecondition, used, "by_hand")
			}
			if err := nas.StartVM("by_hand"); err != nil {
				t.Fatal(err)
			}
			untouched(t, nas, ofImage(t, wide, used+"@v1"), codes.FailedPrecondition, used, "by_hand")
			if err := ofImage(t, wide, "tank/old/free@v1")(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A dataset of a user with a name that resembles those of this provider is not the provider's.
func TestDatasetsOfUsersAreNotOurs(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			client, nas := onRelease(t, release)
			withOthersDisks(t, client, nas)
			if err := ofImage(t, client, "tank/old/images/disk")(); err != nil {
				t.Fatal(err)
			}
			for _, d := range nas.State().Datasets {
				if strings.HasPrefix(d.Origin, "tank/old/images/") {
					t.Errorf("%s was cloned from %s, and the volume itself was requested", d.Name, d.Origin)
				}
			}
		})
	}
	t.Run("the provider's own dataset", func(t *testing.T) {
		// The complete path identifies the contents of a dataset, not the first folder of that name.
		api, nas := truenastest.New(t)
		if err := nas.AddDataset("tank/images", nil); err != nil {
			t.Fatal(err)
		}
		client, provider := serve(t, api, loopbackImages, func(c *server.Config) { c.Dataset = "tank/images/staging" })
		web, _ := serveImage(t)
		resp, err := prepare(t, client, web.job(web.checksum()))
		if err != nil {
			t.Fatal(err)
		}
		finish(t, client, resp.GetTask())
		if left, err := provider.Leftovers(t.Context(), 0); err != nil || len(left) > 0 {
			t.Errorf("leftovers: %+v, %v", left, err)
		}
	})
}

// Of two Creates that attach one volume, one succeeds, whichever call of the first the second begins at.
func TestVolumeHasOneVM(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			for n := 0; n < 12; n += orFewer(t, 1, 4) {
				t.Run(fmt.Sprint("call ", n), func(t *testing.T) {
					t.Parallel()
					oneWinner(t, release, n)
				})
			}
		})
	}
}

func oneWinner(t *testing.T, release string, n int) {
	nas, address := truenastest.Serve(t, truenastest.Release(release))
	if err := errors.Join(nas.AddDataset("tank/old", nil), nas.AddVolume("tank/old/disk0", 1<<30, nil)); err != nil {
		t.Fatal(err)
	}
	begun := make(chan struct{})
	begin := sync.OnceFunc(func() { close(begun) })
	if n == 0 {
		begin()
	}
	nas.OnCall(func(i int, _ string) {
		if i == n {
			begin()
		}
	})
	nas.Inject(sim.Fault{Nth: n, Then: sim.Delay, Delay: heldUp})
	errs := make([]error, 2)
	var all sync.WaitGroup
	for i := range errs {
		client := replica(t, address, fmt.Sprint("replica-", i))
		all.Go(func() {
			if i == 0 {
				defer begin()
			} else {
				<-begun
			}
			req := wanted(fmt.Sprint("web-", i))
			req.UserData, req.DisksJson, req.ClassJson, req.ImageJson = nil, "", `{"CPU":1,"MemoryMiB":512}`, `{"Path":"tank/old/disk0"}`
			_, errs[i] = client.Create(t.Context(), req)
		})
	}
	all.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
			continue
		}
		refusedWith(t, err, "FailedPrecondition", "tank/old/disk0 is a disk of VM")
	}
	state := nas.State()
	if won != 1 || len(state.VMs) != 1 || len(below(state, "tank/virtrigaud/vms/")) != 1 {
		t.Errorf("%d won; the NAS has %d VMs and %v", won, len(state.VMs), below(state, "tank/virtrigaud/vms/"))
	}
}
