package server_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// onNAS returns a provider with one VM, web-1, as good() requests it, and the API of its NAS for manual changes.
func onNAS(t *testing.T, release string) (client providerv1.ProviderClient, nas *sim.Sim, api *truenas.Client, id string) {
	t.Helper()
	api, nas = truenastest.New(t, func(c *sim.Config) { c.Release = release })
	client, _ = serve(t, api)
	addImage(t, nas)
	if err := nas.AddSnapshot("tank/templates/gold@v2"); err != nil {
		t.Fatal(err)
	}
	resp, err := client.Create(t.Context(), good())
	if err != nil {
		t.Fatal(err)
	}
	return client, nas, api, resp.GetId()
}

// nics returns the attributes of the NICs of the NAS's first VM.
func nics(nas *sim.Sim) []map[string]any {
	var list []map[string]any
	for _, d := range nas.VMs()[0].Devices {
		if d.Attributes["dtype"] == "NIC" {
			list = append(list, d.Attributes)
		}
	}
	return list
}

func reservation(nas *sim.Sim, volume string) int64 {
	for _, d := range nas.State().Datasets {
		if d.Name == volume {
			return d.RefReservation
		}
	}
	return -1
}

const web1Dataset = "tank/virtrigaud/vms/web_1"

// TestCreateRepairs repeats the Create of a VM with another setting. A stopped VM gets the setting; for a running VM the field is
// refused, and a Create after the power-off changes it.
func TestCreateRepairs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		spoil func(*providerv1.CreateRequest)
		field string
		done  func(*sim.Sim) bool
	}{
		{"another bridge", networks(`[{"Bridge":"br20","StaticIP":"192.0.2.10/24","Gateway":"192.0.2.1"}]`), "networks_json[0].Bridge", func(nas *sim.Sim) bool {
			return nics(nas)[0]["nic_attach"] == "br20"
		}},
		{"a VLAN", networks(`[{"Bridge":"br0","VLAN":20,"StaticIP":"192.0.2.10/24","Gateway":"192.0.2.1"}]`), "networks_json[0].VLAN", func(nas *sim.Sim) bool {
			return nics(nas)[0]["nic_attach"] == "br20"
		}},
		{"no network", networks(`[]`), "networks_json", func(nas *sim.Sim) bool { return len(nics(nas)) == 0 }},
		{"no seed", func(r *providerv1.CreateRequest) {
			r.UserData, r.MetaData, r.NetworksJson = nil, nil, `[{"Bridge":"br0"}]`
		}, "user_data", func(nas *sim.Sim) bool {
			for _, d := range nas.VMs()[0].Devices {
				if d.Attributes["dtype"] == "CDROM" {
					return false
				}
			}
			return len(nics(nas)) == 1
		}},
		{"another model", networks(`[{"Bridge":"br0","Model":"e1000","StaticIP":"192.0.2.10/24","Gateway":"192.0.2.1"}]`), "networks_json[0].Model", func(nas *sim.Sim) bool {
			return nics(nas)[0]["type"] == "E1000" && nics(nas)[0]["nic_attach"] == "br0"
		}},
		{"other user data", func(r *providerv1.CreateRequest) { r.UserData = []byte("#cloud-config\nhostname: y\n") }, "user_data", func(nas *sim.Sim) bool {
			return len(seeds(nas)) == 2
		}},
		{"another address", networks(`[{"Bridge":"br0","StaticIP":"192.0.2.11/24","Gateway":"192.0.2.1"}]`), "user_data", func(nas *sim.Sim) bool {
			return len(seeds(nas)) == 2
		}},
		{"more CPUs", rawClass(`{"CPU":4,"MemoryMiB":2048,"Firmware":"UEFI","DiskDefaults":{"SizeGiB":20}}`), "class_json.CPU", func(nas *sim.Sim) bool {
			return nas.VMs()[0].Config["cores"] == float64(4)
		}},
		{"a larger root disk", rawClass(`{"CPU":2,"MemoryMiB":2048,"Firmware":"UEFI","DiskDefaults":{"SizeGiB":30}}`), "class_json.DiskDefaults.SizeGiB", func(nas *sim.Sim) bool {
			return sizeOf(nas, web1Dataset+"/root") == 30<<30
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, release := range releases {
				client, nas, _, id := onNAS(t, release)
				changed := good()
				tt.spoil(changed)
				powered(t, client, id, providerv1.PowerOp_POWER_OP_ON)
				before := nas.State()
				_, err := client.Create(t.Context(), changed)
				refusedWith(t, err, "FailedPrecondition", tt.field)
				refusedWith(t, err, "FailedPrecondition", "power it off")
				if after := nas.State(); !reflect.DeepEqual(before, after) {
					t.Errorf("%s: refused, and the NAS was changed:\n%s", release, changes(t, before, after))
				}
				powered(t, client, id, providerv1.PowerOp_POWER_OP_OFF)
				for range 2 {
					if _, err := client.Create(t.Context(), changed); err != nil {
						t.Fatal(err)
					}
				}
				if !tt.done(nas) || len(nics(nas)) > 1 {
					t.Errorf("%s: Create succeeded, and the VM is %+v", release, nas.VMs()[0])
				}
			}
		})
	}
}

func powered(t *testing.T, client providerv1.ProviderClient, id string, op providerv1.PowerOp) {
	t.Helper()
	if _, err := client.Power(t.Context(), &providerv1.PowerRequest{Id: id, Op: op}); err != nil {
		t.Fatal(err)
	}
}

// seeds returns the seeds in the dataset of web-1; a seed stays there after it has left the drive.
func seeds(nas *sim.Sim) []string {
	var list []string
	for _, d := range nas.State().Datasets {
		for _, f := range d.Files {
			if d.Name == web1Dataset && strings.HasPrefix(f.Path, "seed-") {
				list = append(list, f.Path)
			}
		}
	}
	return list
}

func sizeOf(nas *sim.Sim, volume string) int64 {
	for _, d := range nas.State().Datasets {
		if d.Name == volume {
			return d.Size
		}
	}
	return -1
}

// TestCreateReservesSpace requests thick disks in place of thin ones: Create reserves the space, whether or not the VM runs.
func TestCreateReservesSpace(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		for _, running := range []bool{false, true} {
			client, nas, _, id := onNAS(t, release)
			if running {
				powered(t, client, id, providerv1.PowerOp_POWER_OP_ON)
			}
			thick := good()
			class(`"DiskDefaults":{"Type":"thick","SizeGiB":20}`)(thick)
			thick.DisksJson = `[{"SizeGiB":5,"Type":"thick","Name":"data"}]`
			for range 2 {
				if _, err := client.Create(t.Context(), thick); err != nil {
					t.Fatal(err)
				}
			}
			if root, data := reservation(nas, web1Dataset+"/root"), reservation(nas, web1Dataset+"/data"); root < 20<<30 || data < 5<<30 {
				t.Errorf("%s, running: %t: %d and %d bytes are reserved", release, running, root, data)
			}
		}
	}
}

// TestThickClone reserves the space of a clone whether or not it grows.
func TestThickClone(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		for _, gib := range []string{"0", "10", "20"} {
			client, nas := onRelease(t, release)
			addImage(t, nas)
			req := good()
			class(`"DiskDefaults":{"Type":"thick","SizeGiB":` + gib + `}`)(req)
			if _, err := client.Create(t.Context(), req); err != nil {
				t.Fatal(err)
			}
			if size, reserved := sizeOf(nas, web1Dataset+"/root"), reservation(nas, web1Dataset+"/root"); reserved < size {
				t.Errorf("%s, %s GiB: %d of %d bytes are reserved", release, gib, reserved, size)
			}
		}
	}
}

// TestCloneOnANearlyFullPool makes VMs with disks that take no space on a nearly full pool, and refuses disks that do.
func TestCloneOnANearlyFullPool(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		client, nas := onPools(t, release)
		for _, err := range []error{nas.AddVolume("flash/gold", 20<<30, nil), nas.AddSnapshot("flash/gold@v1")} {
			if err != nil {
				t.Fatal(err)
			}
		}
		flash := func(name, diskType, gib string) *providerv1.CreateRequest {
			req := good()
			req.Name, req.DisksJson, req.PlacementJson = name, "", `{"Datastore":"flash"}`
			req.ImageJson = `{"Path":"flash/gold@v1"}`
			class(`"DiskDefaults":{"Type":"` + diskType + `","SizeGiB":` + gib + `}`)(req)
			return req
		}
		filler := flash("filler", "thick", "0")
		filler.ImageJson, filler.ClassJson = "", `{"CPU":1,"MemoryMiB":512,"DiskDefaults":{"Type":"thick","SizeGiB":60}}`
		more := flash("more", "thick", "0")
		more.ImageJson, more.ClassJson = "", `{"CPU":1,"MemoryMiB":512,"DiskDefaults":{"Type":"thick","SizeGiB":20}}`
		for _, req := range []*providerv1.CreateRequest{filler, more, flash("thin", "thin", "20"), flash("same", "thin", "0")} {
			if _, err := client.Create(t.Context(), req); err != nil {
				t.Fatalf("%s: %s: %v", release, req.GetName(), err)
			}
		}
		for _, req := range []*providerv1.CreateRequest{flash("thick", "thick", "20"), flash("large", "thin", "40")} {
			_, err := client.Create(t.Context(), req)
			refusedWith(t, err, "ResourceExhausted", "class_json.DiskDefaults.SizeGiB: no space")
		}
	}
}

// TestCreateOfAnotherImage refuses a root disk that was made from another image, whether the VM runs, is off, or lost its record.
func TestCreateOfAnotherImage(t *testing.T) {
	t.Parallel()
	blank := func(r *providerv1.CreateRequest) { r.ImageJson = "" }
	for _, tt := range []struct {
		name      string
		was, then func(*providerv1.CreateRequest)
	}{
		{"another snapshot", image(`{"Path":"tank/templates/gold@v1"}`), image(`{"Path":"tank/templates/gold@v2"}`)},
		{"a blank disk", image(`{"Path":"tank/templates/gold@v1"}`), blank},
		{"an image for a blank disk", blank, image(`{"Path":"tank/templates/gold@v1"}`)},
		{"a volume to attach", image(`{"Path":"tank/templates/gold@v1"}`), image(`{"Path":"tank/virtrigaud/imports/old/disk"}`)},
	} {
		for _, release := range releases {
			client, nas := onRelease(t, release)
			addImage(t, nas)
			props := map[string]string{"virtrigaud:provider": "test", "virtrigaud:name": "old"}
			for _, err := range []error{
				nas.AddSnapshot("tank/templates/gold@v2"), nas.AddDataset("tank/virtrigaud", nil), nas.AddDataset("tank/virtrigaud/imports", nil),
				nas.AddDataset("tank/virtrigaud/imports/old", props), nas.AddVolume("tank/virtrigaud/imports/old/disk", 10<<30, props),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			first, second := good(), good()
			tt.was(first)
			tt.then(second)
			resp, err := client.Create(t.Context(), first)
			if err != nil {
				t.Fatal(err)
			}
			for _, op := range []providerv1.PowerOp{providerv1.PowerOp_POWER_OP_OFF, providerv1.PowerOp_POWER_OP_ON} {
				powered(t, client, resp.GetId(), op)
				before := nas.State()
				_, err := client.Create(t.Context(), second)
				refusedWith(t, err, "FailedPrecondition", "image_json.Path: ")
				if !reflect.DeepEqual(before, nas.State()) {
					t.Errorf("%s, %s: the NAS was changed", release, tt.name)
				}
			}
		}
	}
}

// TestCreateOfAVMWithoutRecords repeats the Create of a VM of an older release, which recorded nothing about the request.
func TestCreateOfAVMWithoutRecords(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		client, nas, api, id := onNAS(t, release)
		older(t, api)
		another := good()
		image(`{"Path":"tank/templates/gold@v2"}`)(another)
		_, err := client.Create(t.Context(), another)
		refusedWith(t, err, "FailedPrecondition", "image_json.Path: ")
		for _, op := range []providerv1.PowerOp{providerv1.PowerOp_POWER_OP_OFF, providerv1.PowerOp_POWER_OP_ON} {
			powered(t, client, id, op)
			before := nas.State()
			nas.ResetCalls()
			if _, err := client.Create(t.Context(), good()); err != nil {
				t.Error(err)
			}
			if calls := nas.Calls(); len(calls) > 4 || !reflect.DeepEqual(before, nas.State()) {
				t.Errorf("%s: a Create of an existing VM makes the calls %v", release, calls)
			}
		}
	}
}

// TestCreateKeepsDevicesOfUsers keeps the NIC, the disk and the network that a user has added.
func TestCreateKeepsDevicesOfUsers(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		client, nas, api, _ := onNAS(t, release)
		attachByHand(t, nas, api)
		silent := good()
		silent.NetworksJson = `[{"Name":"eth0","Bridge":"br0","StaticIP":"192.0.2.10","Prefix":24,"Gateway":"192.0.2.1"}]`
		if _, err := client.Create(t.Context(), silent); err != nil {
			t.Fatal(err)
		}
		list := nics(nas)
		byHand := slices.IndexFunc(list, func(n map[string]any) bool { return n["mac"] == "02:00:00:00:00:77" })
		if len(list) != 2 || byHand < 0 || list[byHand]["nic_attach"] != "br20" || list[byHand]["type"] != "E1000" {
			t.Errorf("%s: the NICs are %v", release, list)
		}
	}
}

// TestCreateOfAVMWhoseImageIsNotAllowedAnyMore: the VM has its root disk, so its image is not needed.
func TestCreateOfAVMWhoseImageIsNotAllowedAnyMore(t *testing.T) {
	t.Parallel()
	_, nas, api, _ := onNAS(t, "25.10")
	strict, _ := serve(t, api, func(c *server.Config) { c.NASPaths = nil })
	before := nas.State()
	if _, err := strict.Create(t.Context(), good()); err != nil || !reflect.DeepEqual(before, nas.State()) {
		t.Error(err)
	}
}

// TestCreateWithoutADisk refuses to repeat a Create without one of the VM's disks, which holds data.
func TestCreateWithoutADisk(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		client, nas, _, _ := onNAS(t, release)
		fewer := good()
		fewer.DisksJson = ""
		untouched(t, nas, func() error { _, err := client.Create(t.Context(), fewer); return err }, codes.FailedPrecondition, "disks_json: ", "data")
	}
}

// TestCreateOfAnOlderVMWithDNS repeats the Create of a running VM to which an older release did not pass its DNS servers.
func TestCreateOfAnOlderVMWithDNS(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		api, nas := truenastest.New(t, func(c *sim.Config) { c.Release = release })
		client, _ := serve(t, api)
		addImage(t, nas)
		req := good()
		req.UserData, req.MetaData, req.NetworksJson = nil, nil, `[{"Bridge":"br0"}]`
		created, err := client.Create(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		older(t, api)
		req.NetworksJson = `[{"Bridge":"br0","DNS":"192.0.2.53"}]`
		powered(t, client, created.GetId(), providerv1.PowerOp_POWER_OP_ON)
		if _, err := client.Create(t.Context(), req); err != nil {
			t.Errorf("%s: while it runs: %v", release, err)
		}
		powered(t, client, created.GetId(), providerv1.PowerOp_POWER_OP_OFF)
		if _, err := client.Create(t.Context(), req); err != nil || len(seeds(nas)) != 1 {
			t.Errorf("%s: while it is off: %v, with the seeds %v", release, err, seeds(nas))
		}
	}
}
