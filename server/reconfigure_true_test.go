package server_test

import (
	"reflect"
	"strings"
	"testing"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
)

// asManaged returns the manager's desired_json for the VM of good(), with some text in it replaced.
func asManaged(replacements ...string) string {
	return strings.NewReplacer(replacements...).Replace(`{"Name":"web-1",` +
		`"Class":{"CPU":2,"MemoryMiB":2048,"Firmware":"UEFI","DiskDefaults":{"Type":"thin","SizeGiB":20},"ExtraConfig":null},` +
		`"Image":{"TemplateName":"","Path":"tank/templates/gold@v1"},` +
		`"Networks":[{"Name":"eth0","NetworkName":"","Bridge":"br0","VLAN":0,"Model":"virtio","MacAddress":"","IPPolicy":"",` +
		`"StaticIP":"192.0.2.10","Prefix":24,"Gateway":"192.0.2.1","DNS":"","PCISlotNumber":null}],` +
		`"Disks":[{"SizeGiB":5,"Type":"thin","Name":"data"}],"UserData":null,"MetaData":null,` +
		`"Placement":{"Datastore":"tank","Host":""},"Tags":["a","b"]}`)
}

func reconfigured(t *testing.T, client providerv1.ProviderClient, id, desired string) error {
	t.Helper()
	_, err := client.Reconfigure(t.Context(), &providerv1.ReconfigureRequest{Id: id, DesiredJson: desired})
	return err
}

// TestReconfigureRefusesByField requests impossible changes; nothing else is changed either.
func TestReconfigureRefusesByField(t *testing.T) {
	t.Parallel()
	const not, bad = "FailedPrecondition", "InvalidArgument"
	for _, tt := range []struct{ name, from, to, code, field string }{
		{"a bridge that does not exist", `"Bridge":"br0"`, `"Bridge":"br7"`, not, "desired_json.Networks[0].Bridge: "},
		{"a VLAN that does not exist", `"VLAN":0`, `"VLAN":77`, not, "desired_json.Networks[0].VLAN: "},
		{"an unknown model", `"Model":"virtio"`, `"Model":"rtl8139"`, bad, "desired_json.Networks[0].Model: "},
		{"another MAC address", `"MacAddress":""`, `"MacAddress":"02:00:00:00:0a:0b"`, not, "desired_json.Networks[0].MacAddress: "},
		{"another address", `192.0.2.10`, `192.0.2.11`, not, "desired_json.Networks[0].StaticIP: "},
		{"another gateway", `192.0.2.1"`, `192.0.2.2"`, not, "desired_json.Networks[0].Gateway: "},
		{"a DNS server", `"DNS":""`, `"DNS":"192.0.2.53"`, not, "desired_json.Networks[0].DNS: "},
		{"a second NIC", `"Networks":[`, `"Networks":[{"Bridge":"br0"},`, not, "desired_json.Networks"},
		{"another pool", `"Datastore":"tank"`, `"Datastore":"flash"`, not, "desired_json.Placement.Datastore: "},
		{"a host", `"Host":""`, `"Host":"node-1"`, bad, "desired_json.Placement.Host: "},
		{"an unknown type of disk", `"Type":"thin","Name"`, `"Type":"nvme","Name"`, bad, "desired_json.Disks[0].Type: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, release := range releases {
				client, nas, _, id := onNAS(t, release)
				before := nas.State()
				// The request also changes the memory, as the manager does: a refused request changes nothing.
				err := reconfigured(t, client, id, asManaged(tt.from, tt.to, `"MemoryMiB":2048`, `"MemoryMiB":4096`))
				refusedWith(t, err, tt.code, tt.field)
				if after := nas.State(); !reflect.DeepEqual(before, after) {
					t.Errorf("%s: refused, and the NAS was changed:\n%s", release, changes(t, before, after))
				}
			}
		})
	}
}

// TestReconfigureAppliesChanges requests possible changes: while the VM runs if TrueNAS applies them immediately, else while it is off.
func TestReconfigureAppliesChanges(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, from, to string
		online         bool
		done           func(*sim.Sim) bool
	}{
		{"another bridge", `"Bridge":"br0"`, `"Bridge":"br20"`, false, func(nas *sim.Sim) bool { return nics(nas)[0]["nic_attach"] == "br20" }},
		{"a VLAN", `"VLAN":0`, `"VLAN":20`, false, func(nas *sim.Sim) bool { return nics(nas)[0]["nic_attach"] == "br20" }},
		{"another model", `"Model":"virtio"`, `"Model":"e1000"`, false, func(nas *sim.Sim) bool { return nics(nas)[0]["type"] == "E1000" }},
		{"a thick disk", `"Type":"thin","Name"`, `"Type":"thick","Name"`, true, func(nas *sim.Sim) bool { return reservation(nas, web1Dataset+"/data") >= 5<<30 }},
		{"a thick root disk", `{"Type":"thin","SizeGiB":20}`, `{"Type":"thick","SizeGiB":20}`, true, func(nas *sim.Sim) bool { return reservation(nas, web1Dataset+"/root") >= 20<<30 }},
		{"tags", `["a","b"]`, `["a","c"]`, true, func(nas *sim.Sim) bool {
			return strings.HasSuffix(nas.VMs()[0].Config["description"].(string), "tag=a&tag=c]")
		}},
		{"no tags", `["a","b"]`, `[]`, true, func(nas *sim.Sim) bool {
			return !strings.Contains(nas.VMs()[0].Config["description"].(string), "tag=")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, release := range releases {
				client, nas, _, id := onNAS(t, release)
				desired := asManaged(tt.from, tt.to)
				powered(t, client, id, providerv1.PowerOp_POWER_OP_ON)
				if !tt.online {
					before := nas.State()
					refusedWith(t, reconfigured(t, client, id, desired), "FailedPrecondition", "Power it off")
					if !reflect.DeepEqual(before, nas.State()) {
						t.Errorf("%s: refused, and the NAS was changed", release)
					}
					powered(t, client, id, providerv1.PowerOp_POWER_OP_OFF)
				}
				if err := reconfigured(t, client, id, desired); err != nil {
					t.Fatalf("%s: %v", release, err)
				}
				if !tt.done(nas) {
					t.Errorf("%s: success, and the VM is %+v", release, nas.VMs()[0])
				}
				before := nas.State()
				if err := reconfigured(t, client, id, desired); err != nil || !reflect.DeepEqual(before, nas.State()) {
					t.Errorf("%s: asked again: %v", release, err)
				}
			}
		})
	}
	t.Run("thin again", func(t *testing.T) {
		client, nas, _, id := onNAS(t, "25.10")
		for _, kind := range []string{"thick", "thin"} {
			if err := reconfigured(t, client, id, asManaged(`"Type":"thin","Name"`, `"Type":"`+kind+`","Name"`)); err != nil {
				t.Fatal(err)
			}
		}
		if bytes := reservation(nas, web1Dataset+"/data"); bytes != 0 {
			t.Errorf("%d bytes are still reserved", bytes)
		}
	})
}

// TestReconfigureIgnoresEqual sends the manager's request for an unchanged VM, and one with only the CPUs.
func TestReconfigureIgnoresEqual(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		client, nas, _, id := onNAS(t, release)
		before := nas.State()
		for _, desired := range []string{
			asManaged(),
			asManaged(`"Placement":{"Datastore":"tank","Host":""}`, `"Placement":null`, `"Tags":["a","b"]`, `"Tags":null`),
			asManaged(`"Bridge":"br0"`, `"Bridge":""`, `"Model":"virtio"`, `"Model":""`, `"StaticIP":"192.0.2.10","Prefix":24,"Gateway":"192.0.2.1"`, `"StaticIP":""`),
			asManaged(`"DiskDefaults":{"Type":"thin","SizeGiB":20}`, `"DiskDefaults":null`),
		} {
			if err := reconfigured(t, client, id, desired); err != nil {
				t.Errorf("%s: %v", release, err)
			}
		}
		if !reflect.DeepEqual(before, nas.State()) {
			t.Errorf("%s: an empty request changed the NAS", release)
		}
	}
}

// TestReconfigureKeepsDevicesOfUsers changes the CPUs of a VM with a NIC and a disk of a user, where the user's disk precedes
// the VM's.
func TestReconfigureKeepsDevicesOfUsers(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		client, nas, api, id := onNAS(t, release)
		attachByHand(t, nas, api)
		if err := reconfigured(t, client, id, asManaged(`"CPU":2`, `"CPU":4`, `"SizeGiB":20`, `"SizeGiB":30`)); err != nil {
			t.Fatalf("%s: %v", release, err)
		}
		if cores := nas.VMs()[0].Config["cores"]; cores != float64(4) {
			t.Errorf("%s: the VM has %v cores", release, cores)
		}
		if own, theirs := sizeOf(nas, web1Dataset+"/root"), sizeOf(nas, "tank/templates/extra"); own != 30<<30 || theirs != 1<<30 || len(nics(nas)) != 2 {
			t.Errorf("%s: the root disk has %d bytes, the user's %d, and there are %d NICs", release, own, theirs, len(nics(nas)))
		}
	}
}

// attachByHand gives web-1 a NIC and, before its root disk, a disk.
func attachByHand(t *testing.T, nas *sim.Sim, api *truenas.Client) {
	t.Helper()
	vms, err := api.VMs.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := nas.AddVolume("tank/templates/extra", 1<<30, nil); err != nil {
		t.Fatal(err)
	}
	for _, d := range []truenas.DeviceCreate{
		{VM: vms[0].ID, Attributes: truenas.NIC("br20", "02:00:00:00:00:77", "E1000")},
		{VM: vms[0].ID, Order: 1, Attributes: truenas.Disk("/dev/zvol/tank/templates/extra")},
	} {
		if _, err := api.Devices.Create(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
}

// TestReconfigureOfAnOlderVM resizes a VM of a release that recorded nothing: its seed has its address.
func TestReconfigureOfAnOlderVM(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		client, nas, api, id := onNAS(t, release)
		older(t, api)
		refusedWith(t, reconfigured(t, client, id, asManaged("192.0.2.10", "192.0.2.11")), "FailedPrecondition", "desired_json.Networks[0].StaticIP: ")
		if err := reconfigured(t, client, id, asManaged(`"CPU":2`, `"CPU":4`, `"DNS":""`, `"DNS":"192.0.2.10"`)); err != nil {
			t.Errorf("%s: %v", release, err)
		}
		if cores := nas.VMs()[0].Config["cores"]; cores != float64(4) {
			t.Errorf("%s: the VM has %v cores", release, cores)
		}
	}
}

// older removes the records that older releases did not write from web-1.
func older(t *testing.T, api *truenas.Client) {
	t.Helper()
	update := truenas.DatasetUpdate{RemoveUserProperties: []string{"virtrigaud:image", "virtrigaud:seed", "virtrigaud:networks"}}
	if _, err := api.Datasets.Update(t.Context(), web1Dataset, update); err != nil {
		t.Fatal(err)
	}
}

// TestReconfigureOfAnAdoptedVM changes the CPUs of a VM that a user made, with thick disks and the user's NICs.
func TestReconfigureOfAnAdoptedVM(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		client, nas := onPools(t, release, func(c *server.Config) { c.AdoptedVMs = server.Manage })
		for _, err := range []error{
			nas.AddDataset("tank/old", nil), nas.AddVolume("tank/old/disk0", 20<<30, nil), nas.AddVolume("tank/old/disk1", 5<<30, nil),
			nas.AddVM("by_hand", 2, 2048, "tank/old/disk0", "tank/old/disk1"),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		list, err := client.ListVMs(t.Context(), &providerv1.ListVMsRequest{})
		if err != nil || len(list.GetVms()) != 1 {
			t.Fatal(err)
		}
		id := list.GetVms()[0].GetId()
		firmware := "UEFI"
		if nas.VMs()[0].Config["bootloader"] != "UEFI" {
			firmware = "BIOS"
		}
		desired := `{"Name":"by-hand","Class":{"CPU":4,"MemoryMiB":2048,"Firmware":"` + firmware + `","DiskDefaults":{"Type":"thin","SizeGiB":20}},"Networks":null,"Disks":null,"Tags":null,"Placement":null}`
		if err := reconfigured(t, client, id, desired); err != nil {
			t.Errorf("%s: %v", release, err)
		}
		refusedWith(t, reconfigured(t, client, id, strings.Replace(desired, `"Tags":null`, `"Tags":["a"]`, 1)), "FailedPrecondition", "desired_json.Tags: ")
	}
}
