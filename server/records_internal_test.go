package server

import (
	"net/netip"
	"testing"

	"virtrigaud-provider-truenas/server/bootorder"
	"virtrigaud-provider-truenas/server/ownership"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// TestSeedDigestIsOfAllContents: a Create whose request differs from the recorded one in anything that the guest reads from the seed
// must not pass for a repetition.
func TestSeedDigestIsOfAllContents(t *testing.T) {
	nic := func(address, dns string) spec.Network {
		n := spec.Network{}
		if address != "" {
			n.Address = netip.MustParsePrefix(address)
		}
		if dns != "" {
			n.DNS = []netip.Addr{netip.MustParseAddr(dns)}
		}
		return n
	}
	static := nic("192.0.2.10/24", "")
	seen := map[string]string{}
	for name, vm := range map[string]spec.VM{
		"nothing":                       {},
		"user data":                     {UserData: []byte("ab")},
		"other user data":               {UserData: []byte("ac")},
		"meta data":                     {MetaData: []byte("ab")},
		"user data and meta data":       {UserData: []byte("a"), MetaData: []byte("b")},
		"an address":                    {Networks: []spec.Network{static}},
		"another address":               {Networks: []spec.Network{nic("192.0.2.11/24", "")}},
		"a DNS server":                  {Networks: []spec.Network{nic("", "192.0.2.53")}},
		"an address and a DNS server":   {Networks: []spec.Network{nic("192.0.2.10/24", "192.0.2.53")}},
		"an address of the second NIC":  {Networks: []spec.Network{{}, static}},
		"an address, and a second NIC":  {Networks: []spec.Network{static, {}}},
		"user data, and an address":     {UserData: []byte("ab"), Networks: []spec.Network{static}},
		"user data, and a NIC by DHCP":  {UserData: []byte("ab"), Networks: []spec.Network{{}}},
		"user data, and a NIC with DNS": {UserData: []byte("ab"), Networks: []spec.Network{nic("", "192.0.2.53")}},
	} {
		digest := seedDigest(vm)
		if other, taken := seen[digest]; taken {
			t.Errorf("%s and %s have one digest", name, other)
		}
		seen[digest] = name
	}
	if seen["none"] != "nothing" || seedDigest(spec.VM{Networks: []spec.Network{{}}}) != "none" {
		t.Error("a VM without a seed has a digest")
	}
}

// TestDiskTextHasEachSetting: Reconfigure compares the texts of a running VM to find out whether it still needs a restart.
func TestDiskTextHasEachSetting(t *testing.T) {
	usual := truenas.DeviceAttributes{Type: "VIRTIO", IOType: "THREADS"}
	if got := diskText(usual); got != "" {
		t.Errorf("default settings have the text %q", got)
	}
	seen := map[string]bool{"": true}
	for _, change := range []func(*truenas.DeviceAttributes){
		func(a *truenas.DeviceAttributes) { a.Type = "AHCI" },
		func(a *truenas.DeviceAttributes) { a.IOType = "NATIVE" },
		func(a *truenas.DeviceAttributes) { a.LogicalSectorSize = 4096 },
		func(a *truenas.DeviceAttributes) { a.PhysicalSectorSize = 4096 },
	} {
		a := usual
		change(&a)
		if text := diskText(a); seen[text] {
			t.Errorf("%+v has the text %q, as another one", a, text)
		} else {
			seen[text] = true
		}
	}
}

// TestCloneHasTheHardwareOfItsSource, unless the request overrides it.
func TestCloneHasTheHardwareOfItsSource(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		bootloader, model string
		uefi, e1000       bool
	}{
		{truenas.BootUEFI, "VIRTIO", true, false},
		{"UEFI_CSM", "E1000", false, true},
	} {
		source := truenas.VM{Bootloader: tt.bootloader, MemoryMiB: 512, SecureBoot: tt.uefi, TPM: true, Devices: []truenas.Device{
			{Attributes: truenas.Disk("/dev/zvol/tank/root")},
			{Attributes: truenas.NIC("br0", "02:00:00:00:00:01", tt.model)},
			{Attributes: truenas.CDROM("/mnt/tank/a.iso")},
			{Attributes: truenas.NIC("br20", "02:00:00:00:00:02", "VIRTIO")},
		}}
		c := &cloning{source: source}
		c.inheritNICs()
		if n := c.want.Networks; len(n) != 2 || n[0].Attach != "br0" || n[1].Attach != "br20" || n[0].E1000 != tt.e1000 || n[1].E1000 || n[0].MAC != "" {
			t.Errorf("%s: the NICs are %+v", tt.model, c.want.Networks)
		}
		if class := classOf(source); class.UEFI != tt.uefi || class.SecureBoot != tt.uefi || !class.TPM || class.MemoryMiB != 512 {
			t.Errorf("%s: the class is %+v", tt.bootloader, class)
		}
	}
}

// TestArranged is the last check before a start: the devices are in the order for the boot source, or the start is refused.
func TestArranged(t *testing.T) {
	const network = "/mnt/tank/iso/ipxe.iso"
	s := &Server{cfg: Config{NetworkBootISO: network}, marks: ownership.NewMarks(nil, "test", spec.Layout{Dataset: "tank/virtrigaud"}, nil)}
	disk, iso, ipxe := truenas.Disk("/dev/zvol/tank/root"), truenas.CDROM("/mnt/tank/a.iso"), truenas.CDROM(network)
	seed := truenas.CDROM("/mnt/tank/virtrigaud/vms/a/seed-0123456789abcdef.iso")
	for _, tt := range []struct {
		name    string
		source  string
		devices []truenas.DeviceAttributes
		fits    bool
	}{
		{"the disk first", bootorder.Disk, []truenas.DeviceAttributes{disk, iso}, true},
		{"the disk behind a CD-ROM", bootorder.Disk, []truenas.DeviceAttributes{iso, disk}, false},
		{"the disk behind the network", bootorder.Disk, []truenas.DeviceAttributes{ipxe, disk}, false},
		{"the disk behind a seed", bootorder.Disk, []truenas.DeviceAttributes{seed, disk}, true},
		{"no disk", bootorder.Disk, []truenas.DeviceAttributes{iso}, true},
		{"no device", bootorder.Disk, nil, true},
		{"a CD-ROM first", bootorder.CDROM, []truenas.DeviceAttributes{iso, disk}, true},
		{"a CD-ROM behind the disk", bootorder.CDROM, []truenas.DeviceAttributes{disk, iso}, false},
		{"a CD-ROM behind the network", bootorder.CDROM, []truenas.DeviceAttributes{ipxe, iso, disk}, false},
		{"no CD-ROM: the disk", bootorder.CDROM, []truenas.DeviceAttributes{disk, seed}, true},
		{"the network first", bootorder.Network, []truenas.DeviceAttributes{ipxe, iso, disk}, true},
		{"the network behind the disk", bootorder.Network, []truenas.DeviceAttributes{disk, ipxe}, false},
		{"no drive for the network", bootorder.Network, []truenas.DeviceAttributes{disk, iso}, false},
	} {
		vm := truenas.VM{Name: "a"}
		for i, a := range tt.devices {
			vm.Devices = append(vm.Devices, truenas.Device{ID: int64(i + 1), Order: 1000 + i, Attributes: a})
		}
		if err := s.arranged(vm, tt.source); (err == nil) != tt.fits || err != nil && !isRetryable(err) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
