package omni

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/kdomanski/iso9660"

	"virtrigaud-provider-truenas/truenas/sim"
)

func TestProvisionAndRelease(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			client, nas := onNAS(t, release, nil)
			w := newWorld(t, Backend{Name: "nas", Client: client})
			_, stop := w.start()
			for i := range 3 {
				w.request(fmt.Sprintf("cluster-workers-%d", i), class)
			}
			for i := range 3 {
				id := fmt.Sprintf("cluster-workers-%d", i)
				spec := w.provisioned(id)
				vm := vmOf(t, nas, spec.GetUuid())
				if vm.State != "RUNNING" || spec.GetVmId() != spec.GetUuid() || w.status(id).TypedSpec().Value.GetId() != spec.GetUuid() {
					t.Errorf("VM %s is %s, its id %s, its UUID %s, and the UUID in the status %s", vm.Name, vm.State, spec.GetVmId(), spec.GetUuid(), w.status(id).TypedSpec().Value.GetId())
				}
				if len(spec.GetDisks()) == 0 || spec.GetImagePath() == "" || spec.GetTalosVersion() != "v"+talos {
					t.Errorf("noted is %v", spec)
				}
				checkSeed(t, nas, vm, id)
			}
			if n := len(w.factory.Fetched()); n != 1 {
				t.Errorf("the image was fetched %d times: %v", n, w.factory.Fetched())
			}
			for i := range 3 {
				w.release(fmt.Sprintf("cluster-workers-%d", i))
			}
			if left := leftovers(nas); len(left) > 0 {
				t.Errorf("left on the NAS: %v", left)
			}
			stop()
		})
	}
}

// checkSeed reads a machine's seed from the NAS and compares it with Omni's join configuration.
func checkSeed(t *testing.T, nas *sim.Sim, vm sim.VMState, id string) {
	t.Helper()
	files := seedOf(t, nas, vm)
	if join := files["user-data"]; !strings.Contains(join, "kind: SideroLinkConfig") || strings.Contains(join, "#cloud-config") || strings.Count(join, "kind:") != 3 {
		t.Errorf("user-data is not the join configuration:\n%s", join)
	}
	if meta := files["meta-data"]; !strings.Contains(meta, fmt.Sprintf("local-hostname: %q", id)) || !strings.Contains(meta, "instance-id: ") {
		t.Errorf("meta-data is\n%s", meta)
	}
}

func seedOf(t testing.TB, nas *sim.Sim, vm sim.VMState) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, d := range vm.Devices {
		path, _ := d.Attributes["path"].(string)
		if d.Attributes["dtype"] != "CDROM" {
			continue
		}
		content, err := nas.File(path)
		if err != nil {
			t.Fatal(err)
		}
		image, err := iso9660.OpenImage(bytes.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		root, err := image.RootDir()
		if err != nil {
			t.Fatal(err)
		}
		children, err := root.GetChildren()
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range children {
			var b bytes.Buffer
			if _, err := b.ReadFrom(file.Reader()); err != nil {
				t.Fatal(err)
			}
			files[file.Name()] = b.String()
		}
	}
	return files
}
