package server_test

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/settings"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

const driversISO = "/mnt/tank/templates/drivers.iso"

// rowCase is a value of one setting, with the others that it needs, and its result on the NAS.
type rowCase struct {
	give []string
	read func(t *testing.T, nas *sim.Sim) any
	want any
	bad  string // a value that is refused
	// alone requests a setting that only a Reconfigure without other fields may contain; nil: Create requests it.
	alone func(*testing.T) request
}

func ofRecord(key string) func(*testing.T, *sim.Sim) any {
	return func(_ *testing.T, nas *sim.Sim) any { return hardware(nas)[key] }
}

// ofData reads an attribute of the device of the disk data.
func ofData(key string) func(*testing.T, *sim.Sim) any {
	return func(t *testing.T, nas *sim.Sim) any {
		device, _ := diskOf(t, nas, "web_1", web1Dataset+"/data")
		return device[key]
	}
}

// ofVolume reads a ZFS property of the disk data.
func ofVolume(name string) func(*testing.T, *sim.Sim) any {
	return func(_ *testing.T, nas *sim.Sim) any { return propertyOf(nas, web1Dataset+"/data", name) }
}

func ofScreen(key string) func(*testing.T, *sim.Sim) any {
	return func(t *testing.T, nas *sim.Sim) any {
		screens := screensOf(nas, "web_1")
		if len(screens) != 1 {
			t.Fatalf("the screens are %v", screens)
		}
		return screens[0][key]
	}
}

// cdromsOf returns the files in a VM's drives in boot order, before and after its disks, without the seed.
func cdromsOf(_ *testing.T, nas *sim.Sim) any {
	devices := slices.Clone(nas.VMs()[0].Devices)
	slices.SortStableFunc(devices, func(a, b sim.DeviceState) int { return a.Order - b.Order })
	var list []string
	for _, d := range devices {
		file := path.Base(fmt.Sprint(d.Attributes["path"]))
		switch dtype := d.Attributes["dtype"]; {
		case dtype == "DISK" && !slices.Contains(list, "disks"):
			list = append(list, "disks")
		case dtype == "CDROM" && !strings.HasPrefix(file, "seed-"):
			list = append(list, file)
		}
	}
	return strings.Join(list, " ")
}

// bootRecord returns the boot sources in the record of the VM. TestBootOrder and others check the starts.
func bootRecord(t *testing.T, nas *sim.Sim) any {
	t.Helper()
	_, rest, _ := strings.Cut(fmt.Sprint(hardware(nas)["description"]), "boot=")
	rest, _, _ = strings.Cut(rest, "&")
	record, err := url.QueryUnescape(rest)
	if err != nil {
		t.Fatal(err)
	}
	return record
}

// rowCases has every setting of the table.
var rowCases = map[string]rowCase{
	"cpu_mode":                  {[]string{"cpu_mode=host-model"}, ofRecord("cpu_mode"), "HOST-MODEL", "fast", nil},
	"cpu_model":                 {[]string{"cpu_mode=custom", "cpu_model=EPYC"}, ofRecord("cpu_model"), "EPYC", "Z80", nil},
	"cpu_sockets":               {[]string{"cpu_sockets=2"}, ofRecord("vcpus"), 2, "0", nil},
	"cpu_cores":                 {[]string{"cpu_cores=1"}, ofRecord("vcpus"), 2, "3", nil},
	"cpu_threads":               {[]string{"cpu_threads=2"}, ofRecord("threads"), 2, "256", nil},
	"cpu_topology_extension":    {[]string{"cpu_topology_extension=true"}, ofRecord("enable_cpu_topology_extension"), true, "maybe", nil},
	"cpuset":                    {[]string{"cpuset=0-3"}, ofRecord("cpuset"), "0-3", "3-0", nil},
	"pin_vcpus":                 {[]string{"pin_vcpus=true", "cpuset=1,5"}, ofRecord("pin_vcpus"), true, "maybe", nil},
	"nodeset":                   {[]string{"nodeset=0"}, ofRecord("nodeset"), "0", "all", nil},
	"hide_from_msr":             {[]string{"hide_from_msr=true"}, ofRecord("hide_from_msr"), true, "2", nil},
	"hyperv_enlightenments":     {[]string{"hyperv_enlightenments=true"}, ofRecord("hyperv_enlightenments"), true, "some", nil},
	"os":                        {[]string{"os=windows"}, ofRecord("time"), "LOCAL", "plan9", nil},
	"clock":                     {[]string{"clock=local"}, ofRecord("time"), "LOCAL", "CET", nil},
	"machine_type":              {[]string{"machine_type=pc-q35-8.2"}, ofRecord("machine_type"), "pc-q35-8.2", "pc-q35-99", nil},
	"shutdown_timeout":          {[]string{"shutdown_timeout=300"}, ofRecord("shutdown_timeout"), 300, "4", nil},
	"cdrom":                     {[]string{"cdrom=" + driversISO}, cdromsOf, "disks drivers.iso", "/mnt/tank/elsewhere/drivers.iso", nil},
	"boot":                      {[]string{"boot=cdrom", "cdrom=" + driversISO}, bootRecord, "cdrom//", "tape", nil},
	"boot_once":                 {nil, bootRecord, "/network/", "tape", func(*testing.T) request { return setBoot("boot_once", "network") }},
	"media":                     {nil, cdromsOf, "disks drivers.iso", "nas:/mnt/a.iso", func(*testing.T) request { return setMedia(driversISO) }},
	"media_checksum":            {nil, cdromsOf, "disks image.iso", "sha256:abc", setMediaWithSum},
	"disk_bus":                  {[]string{"disk_bus=ahci"}, ofData("type"), "AHCI", "scsi", nil},
	"disk_io":                   {[]string{"disk_io=native"}, ofData("iotype"), "NATIVE", "posix", nil},
	"disk_sector_size":          {[]string{"disk_sector_size=4096"}, ofData("logical_sectorsize"), 4096, "1024", nil},
	"disk_physical_sector_size": {[]string{"disk_physical_sector_size=4096", "disk_sector_size=512"}, ofData("physical_sectorsize"), 4096, "8192", nil},
	"disk_block_size": {[]string{"disk_block_size=64k"}, func(t *testing.T, nas *sim.Sim) any {
		_, dataset := diskOf(t, nas, "web_1", web1Dataset+"/data")
		return dataset.BlockSize
	}, 65536, "3k", nil},
	"disk_compression":   {[]string{"disk_compression=zstd"}, ofVolume("compression"), "zstd", "rar", nil},
	"disk_sync":          {[]string{"disk_sync=always"}, ofVolume("sync"), "always", "never", nil},
	"disk_deduplication": {[]string{"disk_deduplication=verify"}, ofVolume("dedup"), "verify", "maybe", nil},
	"display":            {[]string{"display=spice"}, ofScreen("type"), "SPICE", "rdp", nil},
	"display_bind":       {[]string{"display_bind=0.0.0.0", "display=spice"}, ofScreen("bind"), "0.0.0.0", "nas", nil},
	"display_resolution": {[]string{"display_resolution=1920x1080", "display=spice"}, ofScreen("resolution"), "1920x1080", "1x1", nil},
	"pci":                {[]string{"pci=pci_0000_01_00_0"}, func(_ *testing.T, nas *sim.Sim) any { return hostDevicesOf(nas, "web_1")[0] }, "pci_0000_01_00_0", "0000:01:00.0", nil},
	"usb":                {[]string{"usb=usb_2_1"}, func(_ *testing.T, nas *sim.Sim) any { return hostDevicesOf(nas, "web_1")[0] }, "usb_2_1", "yubikey", nil},
}

// onEverything returns a provider over a NAS with the requirements of all settings.
func onEverything(t *testing.T, release string) (providerv1.ProviderClient, *sim.Sim) {
	t.Helper()
	api, nas := truenastest.New(t, func(c *sim.Config) {
		c.Release = release
		withHostDevices(c)
	})
	client, _ := serve(t, api, bootingNetwork, loopbackImages)
	addImage(t, nas)
	err := errors.Join(nas.AddDataset("tank/iso", nil), nas.AddFile(bootISO, bootBytes), nas.WriteFile(driversISO, installerISO()))
	if err != nil {
		t.Fatal(err)
	}
	return client, nas
}

// Each row of the table of settings has a case, has its documented effect on each release, and refuses a wrong value by its key.
func TestEverySetting(t *testing.T) {
	t.Parallel()
	if len(rowCases) != len(settings.Table()) {
		t.Errorf("%d cases for %d settings", len(rowCases), len(settings.Table()))
	}
	for _, row := range settings.Table() {
		tt, ok := rowCases[row.Name]
		if !ok {
			t.Errorf("%s has no case", row.Name)
			continue
		}
		for _, release := range releases {
			t.Run(row.Name+"/"+release, func(t *testing.T) {
				client, nas := onEverything(t, release)
				refuses(t, client, nas, row.Name, tt)
				if _, err := client.Create(t.Context(), withExtra(tt.give...)); err != nil {
					t.Fatal(err)
				}
				if tt.alone != nil {
					if err := tt.alone(t)(t.Context(), client); err != nil {
						t.Fatal(err)
					}
				}
				if got := tt.read(t, nas); fmt.Sprint(got) != fmt.Sprint(tt.want) {
					t.Errorf("the setting is %v on the NAS, want %v", got, tt.want)
				}
			})
		}
	}
}

// refuses requests a wrong value of a setting; no object may be made.
func refuses(t *testing.T, client providerv1.ProviderClient, nas *sim.Sim, name string, tt rowCase) {
	t.Helper()
	give := []string{name + "=" + tt.bad}
	for _, pair := range tt.give {
		if !strings.HasPrefix(pair, name+"=") {
			give = append(give, pair)
		}
	}
	before := nas.State()
	_, err := client.Create(t.Context(), withExtra(give...))
	refusedWith(t, err, "InvalidArgument", "class_json.ExtraConfig."+settings.Prefix+name+": ")
	if after := nas.State(); !reflect.DeepEqual(before, after) {
		t.Errorf("refused, and the NAS was changed:\n%s", changes(t, before, after))
	}
}
