package talosconfig

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/siderolabs/talos/pkg/machinery/api/resource/definitions/block"
	"github.com/siderolabs/talos/pkg/machinery/cel/celenv"
	"github.com/siderolabs/talos/pkg/machinery/config"
	"github.com/siderolabs/talos/pkg/machinery/config/configloader"
	"github.com/siderolabs/talos/pkg/machinery/config/configpatcher"
	"github.com/siderolabs/talos/pkg/machinery/config/generate"
	"github.com/siderolabs/talos/pkg/machinery/config/generate/secrets"
	"github.com/siderolabs/talos/pkg/machinery/config/machine"
)

// mode is the mode of a machine that boots from its own disk.
type mode struct{}

func (mode) String() string        { return "metal" }
func (mode) RequiresInstall() bool { return false }
func (mode) InContainer() bool     { return false }

// releases are the tested Talos releases: the first with user volumes, and that of the imported Talos packages.
var releases = []string{"v1.10.0", "v1.12.0", "v1.14.0"}

// cluster has the secrets of a cluster, which are slow to generate.
type cluster struct{ secrets *secrets.Bundle }

func newCluster(t *testing.T) cluster {
	t.Helper()
	bundle, err := secrets.NewBundle(secrets.NewFixedClock(time.Unix(1, 0)), config.TalosVersionCurrent)
	if err != nil {
		t.Fatal(err)
	}
	return cluster{bundle}
}

// configured generates a machine configuration with Talos, applies patches as Omni does, and reads and validates it with Talos.
func (c cluster) configured(t *testing.T, talos string, kind machine.Type, patches ...[]byte) (config.Provider, error) {
	t.Helper()
	contract, err := config.ParseContractFromVersion(talos)
	if err != nil {
		t.Fatal(err)
	}
	input, err := generate.NewInput("c", "https://192.0.2.1:6443", "1.34.0", generate.WithVersionContract(contract), generate.WithSecretsBundle(c.secrets))
	if err != nil {
		t.Fatal(err)
	}
	base, err := input.Config(kind)
	if err != nil {
		t.Fatal(err)
	}
	var loaded []configpatcher.Patch
	for _, patch := range patches {
		p, err := configpatcher.LoadPatch(patch)
		if err != nil {
			t.Fatalf("%v\n%s", err, patch)
		}
		loaded = append(loaded, p)
	}
	out, err := configpatcher.Apply(configpatcher.WithConfig(base), loaded)
	if err != nil {
		t.Fatal(err)
	}
	text, err := out.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	provider, err := configloader.NewFromBytes(text)
	if err != nil {
		t.Fatal(err)
	}
	_, err = provider.ValidateAsClient(mode{})
	return provider, err
}

// must fails the test if a patch could not be made.
func must(t *testing.T) func(patch []byte, err error) []byte {
	return func(patch []byte, err error) []byte {
		t.Helper()
		if err != nil || len(patch) == 0 {
			t.Fatalf("no patch: %v", err)
		}
		return patch
	}
}

// Talos reads and accepts the patches of a machine class, on control planes and workers.
func TestTalosAcceptsThePatches(t *testing.T) {
	subnets, c := []string{"192.0.2.0/24", "2001:db8::/64", "!192.0.2.5/32"}, newCluster(t)
	for _, talos := range releases {
		for _, kind := range []machine.Type{machine.TypeControlPlane, machine.TypeWorker} {
			t.Run(talos+" "+kind.String(), func(t *testing.T) {
				control := kind == machine.TypeControlPlane
				got, err := c.configured(t, talos, kind,
					must(t)(MTU([]NIC{{"02:00:00:00:00:01", 9000, true}, {"02:00:00:00:00:02", 1400, false}})),
					must(t)(Subnets(subnets, control)),
					must(t)(UserVolumes([]Volume{{"data", "xfs", "6e5c7d1a", 10 << 30}, {"logs-2", "ext4", "", 20 << 30}})))
				if err != nil {
					t.Fatal(err)
				}
				if n := got.Machine().Kubelet().NodeIP().ValidSubnets(); fmt.Sprint(n) != fmt.Sprint(subnets) {
					t.Errorf("the kubelet takes its address from %v", n)
				}
				if control && fmt.Sprint(got.Cluster().Etcd().AdvertisedSubnets()) != fmt.Sprint(subnets) {
					t.Errorf("etcd takes its address from %v", got.Cluster().Etcd().AdvertisedSubnets())
				}
				checkDevices(t, got)
				checkVolumes(t, got)
			})
		}
	}
}

func checkDevices(t *testing.T, got config.Provider) {
	t.Helper()
	var have []string
	for _, d := range got.RawV1Alpha1().MachineConfig.MachineNetwork.NetworkInterfaces { //nolint:staticcheck // The form that all releases have.
		have = append(have, fmt.Sprint(d.DeviceSelector.NetworkDeviceHardwareAddress, " ", d.MTU(), " ", d.DHCP()))
	}
	if want := []string{"02:00:00:00:00:01 9000 true", "02:00:00:00:00:02 1400 false"}; fmt.Sprint(have) != fmt.Sprint(want) {
		t.Errorf("the network cards are %v, want %v", have, want)
	}
}

func checkVolumes(t *testing.T, got config.Provider) {
	t.Helper()
	volumes := got.UserVolumeConfigs()
	if len(volumes) != 2 || volumes[0].Name() != "data" || volumes[1].Name() != "logs-2" {
		t.Fatalf("the user volumes are %v", volumes)
	}
	root := &block.DiskSpec{Size: 20 << 30, Symlinks: []string{"/dev/disk/by-id/virtio-00000000"}}
	virtio := &block.DiskSpec{Size: 10 << 30, Symlinks: []string{"/dev/disk/by-path/pci-0", "/dev/disk/by-id/virtio-6e5c7d1a"}}
	ahci := &block.DiskSpec{Size: 10 << 30, Symlinks: []string{"/dev/disk/by-id/ata-QEMU_HARDDISK_6e5c7d1a"}}
	for _, tt := range []struct {
		volume int
		disk   *block.DiskSpec
		system bool
		want   bool
	}{
		{0, virtio, false, true},
		{0, ahci, false, true},
		{0, root, true, false},
		{0, &block.DiskSpec{Size: 10 << 30}, false, false},
		{1, &block.DiskSpec{Size: 20 << 30}, false, true},
		{1, root, true, false},
		{1, &block.DiskSpec{Size: 20 << 30, Cdrom: true}, false, false},
		{1, virtio, false, false},
	} {
		match := volumes[tt.volume].Provisioning().DiskSelector().ValueOrZero()
		found, err := match.EvalBool(celenv.DiskLocator(), map[string]any{"disk": tt.disk, "system_disk": tt.system})
		if err != nil || found != tt.want {
			t.Errorf("volume %s, disk %v: %v, %v", volumes[tt.volume].Name(), tt.disk, found, err)
		}
	}
}

// Talos refuses a worker that configures etcd. If it ever accepts one, the distinction can be removed.
func TestEtcdOnAWorker(t *testing.T) {
	if _, err := newCluster(t).configured(t, releases[0], machine.TypeWorker, must(t)(Subnets([]string{"192.0.2.0/24"}, true))); err == nil || !strings.Contains(err.Error(), "etcd") {
		t.Errorf("got %v", err)
	}
}

// Equal values make equal bytes, and applying a patch twice changes nothing.
func TestPatchesAreIdempotent(t *testing.T) {
	patches := func() [][]byte {
		return [][]byte{
			must(t)(MTU([]NIC{{"02:00:00:00:00:01", 9000, true}})),
			must(t)(UserVolumes([]Volume{{"data", "xfs", "6e5c7d1a", 10 << 30}, {"more", "ext4", "6e5c7d1b", 10 << 30}})),
		}
	}
	first, second := patches(), patches()
	for i := range first {
		if !bytes.Equal(first[i], second[i]) {
			t.Errorf("made\n%s\nand\n%s", first[i], second[i])
		}
	}
	got, err := newCluster(t).configured(t, "v1.12.0", machine.TypeWorker, append(first, second...)...)
	if err != nil {
		t.Fatal(err)
	}
	if devices := got.RawV1Alpha1().MachineConfig.MachineNetwork.NetworkInterfaces; len(devices) != 1 || len(got.UserVolumeConfigs()) != 2 { //nolint:staticcheck // as above
		t.Errorf("%d network cards, %d volumes", len(devices), len(got.UserVolumeConfigs()))
	}
}

func TestNoPatches(t *testing.T) {
	for _, none := range []func() ([]byte, error){
		func() ([]byte, error) { return MTU(nil) },
		func() ([]byte, error) { return Subnets(nil, true) },
		func() ([]byte, error) { return UserVolumes(nil) },
	} {
		if patch, err := none(); err != nil || len(patch) != 0 {
			t.Errorf("got %q, %v", patch, err)
		}
	}
}

// A multi-document patch parses as Talos documents, for any serial and name.
func FuzzUserVolumes(f *testing.F) {
	f.Add("data", "6e5c7d1a")
	f.Add("1e3", "0x1F")
	f.Add("yes", "-_-")
	f.Fuzz(func(t *testing.T, name, serial string) {
		if CheckVolumeName(name) != nil || !IsSerial(serial) {
			return
		}
		provider, err := configloader.NewFromBytes(must(t)(UserVolumes([]Volume{{name, "xfs", serial, 1 << 30}})))
		if err != nil {
			t.Fatal(err)
		}
		if v := provider.UserVolumeConfigs(); len(v) != 1 || v[0].Name() != name {
			t.Errorf("%q became %v", name, v)
		}
	})
}

func TestReaches(t *testing.T) {
	at := netip.MustParseAddr
	for _, tt := range []struct {
		subnets     string
		first, last string
		want        bool
	}{
		{"192.0.2.0/24", "192.0.2.10", "192.0.2.20", true},
		{"192.0.2.0/24", "198.51.100.1", "198.51.100.9", false},
		{"192.0.2.16/30", "192.0.2.10", "192.0.2.20", true},
		{"192.0.2.16/28", "192.0.2.1", "192.0.2.16", true},
		{"192.0.2.16/28", "192.0.2.31", "192.0.2.99", true},
		{"198.51.100.0/24 192.0.2.0/24", "192.0.2.10", "192.0.2.10", true},
		{"!192.0.2.0/24", "192.0.2.10", "192.0.2.10", false},
		{"2001:db8::/64", "192.0.2.10", "192.0.2.10", false},
		{"2001:db8::/64", "2001:db8::1", "2001:db8::9", true},
	} {
		if got := Reaches(strings.Fields(tt.subnets), at(tt.first), at(tt.last)); got != tt.want {
			t.Errorf("%+v: got %v", tt, got)
		}
	}
}
