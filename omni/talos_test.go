package omni

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cosi-project/runtime/pkg/safe"
	infrares "github.com/siderolabs/omni/client/pkg/omni/resources/infra"
	"github.com/siderolabs/talos/pkg/machinery/config/configloader"
	"google.golang.org/grpc"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/omni/standin"
	"virtrigaud-provider-truenas/truenas/sim"
)

func TestTalosMistakes(t *testing.T) {
	for _, tt := range []struct{ name, data, want string }{
		{"everything", "mtu: 9000\nadditional_nics: [{mtu: 1400}]\nadvertised_subnets: [192.0.2.0/24, \"2001:db8::/64\"]\nextensions: [siderolabs/iscsi-tools]\nkernel_args: [net.ifnames=0, -console]\nadditional_disks: [{size: 5, name: data-1, filesystem: xfs}, {size: 5, filesystem: ext4}]\n", ""},
		{"an MTU below IPv6's", "mtu: 1000\n", "mtu is 1000; allowed are 1280 to 9216"},
		{"an MTU above that of switches", "additional_nics: [{mtu: 16000}]\n", "additional_nics[0].mtu is 16000; allowed are 1280 to 9216"},
		{"an MTU in words", "mtu: jumbo\n", "mtu must be a whole number"},
		{"an unknown filesystem", "additional_disks: [{size: 5, filesystem: zfs}]\n", `additional_disks[0].filesystem is "zfs"; allowed are xfs and ext4`},
		{"an invalid name of a user volume", "additional_disks: [{size: 5, name: my_data, filesystem: xfs}]\n", `additional_disks[0].name: "my_data" cannot be the name of a user volume`},
		{"a valid name of a disk", "additional_disks: [{size: 5, name: my_data}]\n", ""},
		{"an address for a subnet", "advertised_subnets: [192.0.2.5]\n", `advertised_subnets[0]: "192.0.2.5" is not a subnet`},
		{"a text for a list", "advertised_subnets: 192.0.2.0/24\n", "advertised_subnets must be a list"},
		{"excluded subnets alone", "advertised_subnets: [\"!192.0.2.0/24\"]\n", "advertised_subnets: all subnets are excluded"},
		{"subnets without an address", "advertised_subnets: [198.51.100.0/24]\nip_addresses: [192.0.2.10-192.0.2.20]\nip_prefix: 24\n", "advertised_subnets: no address of ip_addresses is in 198.51.100.0/24"},
		{"subnets of a second card", "advertised_subnets: [198.51.100.0/24]\nip_addresses: [192.0.2.10]\nip_prefix: 24\nadditional_nics: [{ip_addresses: [198.51.100.10], ip_prefix: 24}]\n", ""},
		{"subnets of a card with DHCP", "advertised_subnets: [198.51.100.0/24]\nip_addresses: [192.0.2.10]\nip_prefix: 24\nadditional_nics: [{network_bridge: br0}]\n", ""},
		{"an extension without its owner", "extensions: [iscsi-tools]\n", `extensions[0]: "iscsi-tools" is not the name of a system extension such as siderolabs/iscsi-tools`},
		{"a kernel argument of Omni's", "kernel_args: [\"siderolink.api=x\"]\n", "kernel_args[0]: \"siderolink.api=x\": the provider and Omni set siderolink.api themselves"},
		{"a kernel argument twice", "kernel_args: [a, a]\n", `kernel_args: "a" is given twice`},
		{"a memory floor", "min_memory: 1024\n", "min_memory is not a setting: TrueNAS does not return reclaimed memory to a guest"},
		{"a name of another provider", "network_interface: br0\n", "network_interface is not a setting; did you mean network_bridge?"},
		{"a name of another provider for a disk", "additional_disks: [{size: 5, disk_size: 5}]\n", "additional_disks[0].disk_size is not a setting; did you mean size?"},
	} {
		_, err := parseClass(fromYAML(class + tt.data))
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}

// patches returns the configuration patches of a request, by the part of their name after its id.
func (w *world) patches(id string) map[string]string {
	w.t.Helper()
	list, err := safe.StateListAll[*infrares.ConfigPatchRequest](w.t.Context(), w.omni)
	if err != nil {
		w.t.Fatal(err)
	}
	found := map[string]string{}
	for patch := range list.All() {
		data, err := patch.TypedSpec().Value.GetUncompressedData()
		if err != nil {
			w.t.Fatal(err)
		}
		if name, ok := strings.CutPrefix(patch.Metadata().ID(), id+"-"); ok {
			found[name] = string(data.Data())
			if _, err := configloader.NewFromBytes(data.Data()); err != nil {
				w.t.Errorf("Talos cannot read %s: %v\n%s", patch.Metadata().ID(), err, data.Data())
			}
		}
	}
	return found
}

// serials returns the serials of a machine's disks, by the names of their volumes.
func (w *world) serials(id string) map[string]string {
	w.t.Helper()
	found, err := w.cfg.Providers[0].Client.Describe(w.t.Context(), &providerv1.DescribeRequest{Id: w.note(id).TypedSpec().Value.GetVmId()})
	if err != nil {
		w.t.Fatal(err)
	}
	var reported map[string]string
	if err := json.Unmarshal([]byte(found.GetProviderRawJson()), &reported); err != nil {
		w.t.Fatal(err)
	}
	serials := map[string]string{}
	for entry := range strings.SplitSeq(reported["disk_serials"], ",") {
		volume, serial, _ := strings.Cut(entry, "=")
		serials[volume] = serial
	}
	return serials
}

// requestIn requests a machine of a set.
func (w *world) requestIn(set, id, class string) {
	w.t.Helper()
	if err := standin.Request(w.t.Context(), w.omni, providerID, id, set, talos, class); err != nil {
		w.t.Fatal(err)
	}
}

const multihomed = class + `mtu: 9000
advertised_subnets: [192.0.2.0/24]
additional_nics:
  - {ip_addresses: [192.0.2.10-192.0.2.20], ip_prefix: 24}
  - {ip_addresses: [198.51.100.10-198.51.100.20], ip_prefix: 24, mtu: 1400}
additional_disks:
  - {size: 5, name: raw, filesystem: xfs}
  - {size: 5, name: plain}
  - {size: 5, name: logs, filesystem: ext4, bus: ahci}
`

// The patches name the NICs and the disks that the machine has, on each release.
func TestTalosPatches(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world, nas *sim.Sim) {
		_, stop := w.start()
		w.requestIn("prod-control-planes", "one", multihomed)
		vm := vmOf(t, nas, w.provisioned("one").GetUuid())
		got := w.patches("one")
		var macs []string
		for _, d := range vm.Devices {
			if d.Attributes["dtype"] == "NIC" {
				macs = append(macs, fmt.Sprint(d.Attributes["mac"]))
			}
		}
		serials := w.serials("one")
		if len(macs) != 3 || len(serials) != 4 {
			t.Fatalf("the VM has the cards %v and the disks %v", macs, serials)
		}
		for name, parts := range map[string][]string{
			"mtu":                {macs[0] + "\n        mtu: 9000\n        dhcp: true\n", macs[2] + "\n        mtu: 1400\n"},
			"advertised-subnets": {"etcd:\n    advertisedSubnets:\n      - 192.0.2.0/24\n", "validSubnets:\n        - 192.0.2.0/24\n"},
			"user-volumes":       {"name: raw\n", "by-id/virtio-" + serials["rawZ"] + `"`, "name: logs\n", "by-id/ata-QEMU_HARDDISK_" + serials["logs"] + `"`},
		} {
			for _, part := range parts {
				if !strings.Contains(got[name], part) {
					t.Errorf("patch %s lacks %q:\n%s", name, part, got[name])
				}
			}
		}
		if len(got) != 3 || strings.Contains(got["mtu"], macs[1]) || strings.Contains(got["user-volumes"], serials["plain"]) || strings.Count(got["mtu"], "dhcp") != 1 {
			t.Errorf("the patches are %v", got)
		}
		w.checkRelease(nas, "one")
		stop()
	})
}

// Workers get no etcd settings, because Talos would refuse their configuration. A class without these settings gets no patches.
func TestPatchesOfOtherSets(t *testing.T) {
	client, _ := onNAS(t, "25.10", nil)
	w := newWorld(t, Backend{Name: "nas", Client: client})
	_, stop := w.start()
	for _, set := range []string{"prod-workers", "", "control-planes"} {
		id := "m-" + set
		w.requestIn(set, id, class+"advertised_subnets: [192.0.2.0/24]\n")
		w.provisioned(id)
		if got := w.patches(id); len(got) != 1 || !strings.Contains(got["advertised-subnets"], "validSubnets") || strings.Contains(got["advertised-subnets"], "etcd") {
			t.Errorf("set %q: %v", set, got)
		}
	}
	w.request("plain", class)
	w.provisioned("plain")
	if got := w.patches("plain"); len(got) != 0 {
		t.Errorf("the patches are %v", got)
	}
	stop()
}

// A machine that is created again has other serials, and its patch changes with them. Its MAC addresses stay.
func TestPatchesFollowTheMachine(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world, nas *sim.Sim) {
		var once sync.Once
		var before map[string]string
		_, stop := w.start(around(func(at int, pctx stepContext, run func() error) error {
			if at == 4 {
				once.Do(func() {
					before = w.patches("one")
					w.deleteByHand(pctx.State.TypedSpec().Value.GetVmId())
				})
			}
			return run()
		}))
		w.request("one", multihomed)
		w.provisioned("one")
		after, serial := w.patches("one"), w.serials("one")["rawZ"]
		if before["mtu"] != after["mtu"] || before["user-volumes"] == after["user-volumes"] {
			t.Errorf("the patches were\n%s\n%s\nand are\n%s\n%s", before["mtu"], before["user-volumes"], after["mtu"], after["user-volumes"])
		}
		if serial == "" || !strings.Contains(after["user-volumes"], serial) {
			t.Errorf("disk raw has the serial %q, and the patch is\n%s", serial, after["user-volumes"])
		}
		stop()
	})
}

// Machines never share a MAC address, not even those of two Omnis.
func TestMACs(t *testing.T) {
	seen := map[string]string{}
	two := Class{NIC: NIC{MTU: 9000}, NICs: []NIC{{}, {MTU: 1400}}}
	for _, origin := range []string{"one.example", "two.example"} {
		for _, id := range []string{"a", "b", "a 0"} {
			p := &Provisioner{cfg: Config{ID: providerID, Origin: origin}}
			macs := p.macs(id, two)
			if len(macs) != 3 || macs[1] != "" || !slices.Equal(macs, p.macs(id, two)) {
				t.Errorf("the addresses are %q", macs)
			}
			for _, mac := range []string{macs[0], macs[2]} {
				if other, ok := seen[mac]; ok || !strings.HasPrefix(mac, "02:") {
					t.Errorf("%s of %s has %s, as %q", id, origin, mac, other)
				}
				seen[mac] = id
			}
		}
	}
}

// contractProvider is a backend that reports only the fields of the contract.
type contractProvider struct{ providerv1.ProviderClient }

func (m contractProvider) Describe(ctx context.Context, req *providerv1.DescribeRequest, opts ...grpc.CallOption) (*providerv1.DescribeResponse, error) {
	resp, err := m.ProviderClient.Describe(ctx, req, opts...)
	if resp != nil {
		resp.ProviderRawJson = ""
	}
	return resp, err
}

// Without serials a disk is matched by its size, unless another disk has the same size.
func TestUserVolumesWithoutSerials(t *testing.T) {
	client, _ := onNAS(t, "25.10", nil)
	w := newWorld(t, Backend{Name: "nas", Client: contractProvider{client}})
	_, stop := w.start()
	w.request("one", class+"additional_disks: [{size: 5, name: data, filesystem: xfs}, {size: 6}]\n")
	w.provisioned("one")
	if got := w.patches("one")["user-volumes"]; !strings.Contains(got, fmt.Sprintf("!system_disk && !disk.cdrom && disk.size == %du", int64(5)<<30)) {
		t.Errorf("the patch is\n%s", got)
	}
	w.request("two", class+"additional_disks: [{size: 5, name: data, filesystem: xfs}, {size: 5}]\n")
	w.failed("two", "nas does not report the serials of disks, and additional_disks[0] has the size of another disk; give it a size of its own")
	w.release("two")
	stop()
}

func TestReportedSerials(t *testing.T) {
	for _, tt := range []struct{ name, raw, want string }{
		{"all", `{"disk_serials":"root=r,data=a,more=b"}`, "a,b"},
		{"one too few", `{"disk_serials":"root=r,data=a"}`, ","},
		{"one too many", `{"disk_serials":"root=r,data=a,more=b,by_hand=c"}`, ","},
		{"another root disk", `{"disk_serials":"data=a,root=r,more=b"}`, ","},
		{"one that cannot be used", `{"disk_serials":"root=r,data=a\" || true,more=b"}`, ",b"},
		{"none", `{}`, ","},
		{"no JSON", `serials`, ","},
	} {
		if got := strings.Join(reportedSerials(tt.raw, 2), ","); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestUserVolumesNeedTheirTalos(t *testing.T) {
	client, nas := onNAS(t, "25.10", nil)
	w := newWorld(t, Backend{Name: "nas", Client: client})
	_, stop := w.start()
	if err := standin.Request(t.Context(), w.omni, providerID, "one", "workers", "1.9.5", class+"additional_disks: [{size: 5, filesystem: xfs}]\n"); err != nil {
		t.Fatal(err)
	}
	w.failed("one", "additional_disks[0].filesystem needs Talos 1.10 or later; the machine gets 1.9.5")
	stop()
	if len(nas.VMs()) > 0 || len(w.factory.Fetched()) > 0 {
		t.Error("the NAS was changed")
	}
}

// Extensions and kernel arguments are part of the image. Classes with the same ones share it, in any order of the extensions, and
// other classes do not.
func TestImagesFollowTheClass(t *testing.T) {
	client, _ := onNAS(t, "25.10", nil)
	w := newWorld(t, Backend{Name: "nas", Client: client})
	_, stop := w.start()
	for i, data := range []string{
		"", "extensions: [siderolabs/iscsi-tools, siderolabs/util-linux-tools]\n", "extensions: [siderolabs/util-linux-tools, siderolabs/iscsi-tools, siderolabs/iscsi-tools]\n",
		"kernel_args: [b=2, a=1]\n", "kernel_args: [a=1, b=2]\n",
	} {
		w.request(fmt.Sprint("m", i), class+data)
		w.provisioned(fmt.Sprint("m", i))
	}
	stop()
	if n := len(w.factory.Fetched()); n != 4 {
		t.Errorf("%d images were fetched: %v", n, w.factory.Fetched())
	}
	var have []string
	for _, s := range slices.Collect(maps.Values(w.factory.Schematics())) {
		have = append(have, fmt.Sprint(s.Customization.SystemExtensions.OfficialExtensions, s.Customization.ExtraKernelArgs))
	}
	slices.Sort(have)
	if want := []string{"[] []", "[] [a=1 b=2]", "[] [b=2 a=1]", "[siderolabs/iscsi-tools siderolabs/util-linux-tools] []"}; !slices.Equal(have, slices.Sorted(slices.Values(want))) {
		t.Errorf("the schematics are %q, want %q", have, want)
	}
	if n := w.factory.ListedExtensions(); n != 1 {
		t.Errorf("the extensions were listed %d times", n)
	}
}

// The first step refuses an extension that the factory does not have.
func TestUnknownExtension(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world, nas *sim.Sim) {
		_, stop := w.start()
		w.request("one", class+"extensions: [siderolabs/iscsi-tool]\n")
		w.failed("one", `extensions[0]: the image factory has no system extension "siderolabs/iscsi-tool" for Talos 1.12.3; did you mean siderolabs/iscsi-tools?`)
		stop()
		if len(nas.VMs()) > 0 || len(w.factory.Fetched()) > 0 || len(w.factory.Schematics()) > 0 {
			t.Error("the NAS was changed")
		}
	})
}

// A factory without a list of extensions, or one that only the backend can reach, does not block machines.
func TestUnlistableExtensions(t *testing.T) {
	client, nas := onNAS(t, "25.10", nil)
	w := newWorld(t, Backend{Name: "nas", Client: client})
	w.factory.HideExtensions()
	_, stop := w.start()
	w.request("one", class+"extensions: [example/own]\n")
	w.complete(nas, "one")
	stop()
}
