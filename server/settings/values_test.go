package settings_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"virtrigaud-provider-truenas/server/settings"
)

// TestSuggestions: a misspelt key is answered with the nearest one, and a key like no other with none.
func TestSuggestions(t *testing.T) {
	for name, suggestion := range map[string]string{
		"cdrxyz":  "cdrom", // three letters away
		"cdwxyz":  "",      // four
		"CPU_MOD": "cpu_mode",
		// Of two keys within reach, the nearer one.
		"cpu_cors": "cpu_cores",
		// As long as a key can be to be compared, and longer.
		strings.Repeat("x", 64): "", strings.Repeat("x", 65): "",
	} {
		_, err := parse(t, settings.Prefix+name, "x")
		want := settings.Prefix + name + ": not a setting of this provider"
		if suggestion != "" {
			want += "; did you mean " + settings.Prefix + suggestion + "?"
		}
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestBounds checks the last value that a setting accepts, and the first one beyond it.
func TestBounds(t *testing.T) {
	iso := func(n int) string { return "/mnt/" + strings.Repeat("a", n-len("/mnt/.iso")) + ".iso" }
	for _, tt := range []struct {
		name, value string
		ok          bool
	}{
		{"cpu_sockets", "1", true}, {"cpu_sockets", "0", false}, {"cpu_sockets", "255", true}, {"cpu_sockets", "256", false},
		{"shutdown_timeout", "5", true}, {"shutdown_timeout", "4", false}, {"shutdown_timeout", "300", true}, {"shutdown_timeout", "301", false},
		{"cpuset", "0", true}, {"cpuset", "0-1", true}, {"cpuset", "1-1", false}, {"cpuset", "2-1", false},
		{"cpuset", "4096", true}, {"cpuset", "4097", false}, {"cpuset", "0-4096", true}, {"cpuset", "0-4097", false}, {"cpuset", "1,4097", false},
		{"cdrom", iso(1024), true}, {"cdrom", iso(1025), false},
		{"cdrom", "/MNT/tank/a.iso", false}, {"cdrom", "/mnt/tank/A.ISO", true},
		{"display_bind", "192.0.2.1", true}, {"display_bind", "nas.example", false},
		{"usb", "10c4:ea60", true}, {"usb", "usb_1_2", true}, {"usb", "none", true}, {"usb", "mouse", false},
		{"pci", "any:nvidia", true}, {"pci", "any:", false}, {"pci", "any: ", false}, {"pci", "none", true}, {"pci", "pci_0000_01_00_0", true}, {"pci", "gpu", false},
		{"pci", "none,pci_0000_01_00_0", false}, {"pci", "pci_0000_01_00_0, pci_0000_02_00_0", true},
		{"media", "none", true}, {"media", "/mnt/tank/a.iso", true}, {"media", "https://example.com/a.iso", true}, {"media", "ftp://example.com/a.iso", false},
		{"media", "https:///a.iso", false}, {"media", "https://me:secret@example.com/a.iso", false}, {"media", "a.iso", false}, {"media", "http://%zz", false},
		{"media_checksum", "md5:" + strings.Repeat("0", 32), true}, {"media_checksum", "md5:" + strings.Repeat("0", 31), false},
		{"machine_type", strings.Repeat("q", 63), true}, {"machine_type", strings.Repeat("q", 64), false},
	} {
		_, err := parse(t, settings.Prefix+tt.name, tt.value)
		if (err == nil) != tt.ok || err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s %.60q: got %v", tt.name, tt.value, err)
		}
	}
}

// TestDisksOfSettings: a setting for one disk overrides the setting for all, and a refusal names the key that was given.
func TestDisksOfSettings(t *testing.T) {
	const p = settings.Prefix
	v, err := parse(t, p+"disk_bus", "ahci", p+"disk_bus.data", "virtio", p+"disk_io.root", "native", p+"disk_io.logs", "")
	if err != nil {
		t.Fatal(err)
	}
	for disk, want := range map[string][2]string{"root": {"ahci", "native"}, "data": {"virtio", ""}, "logs": {"ahci", ""}, "": {"ahci", ""}} {
		if got := v.Disk(disk); got.Bus != want[0] || got.IO != want[1] {
			t.Errorf("%q: got %+v", disk, got)
		}
	}
	if got := v.Disks(); !slices.Equal(got, []string{"data"}) {
		t.Errorf("disks with settings of their own: %q", got)
	}
	for _, tt := range []struct{ got, want string }{
		{v.KeyFor("disk_bus", "data"), p + "disk_bus.data"}, {v.KeyFor("disk_bus", "root"), p + "disk_bus"},
		{v.DiskKey("data"), p + "disk_bus.data"}, {v.DiskKey("other"), p},
		{fmt.Sprint(v.GivenFor("disk_bus", "data"), v.GivenFor("disk_bus", "root"), v.Given("disk_io"), v.Given("disk_sync")), "true false true false"},
	} {
		if tt.got != tt.want {
			t.Errorf("got %s, want %s", tt.got, tt.want)
		}
	}
	for key, says := range map[string]string{
		"disk_bus.":                      "the name of a disk must follow the dot",
		"disk_physical_sector_size":      "disk_physical_sector_size: needs truenas.io/disk_sector_size",
		"disk_physical_sector_size.data": "disk_physical_sector_size.data: needs truenas.io/disk_sector_size",
	} {
		if _, err := parse(t, p+key, "4096"); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v", key, err)
		}
	}
}

// TestWindowsDisks: Windows has no driver for VirtIO disks, unless the bus is given.
func TestWindowsDisks(t *testing.T) {
	const p = settings.Prefix
	for _, tt := range []struct {
		pairs []string
		want  string
	}{
		{[]string{p + "os", "windows"}, "ahci"},
		{[]string{p + "os", "windows", p + "disk_bus", "virtio"}, "virtio"},
		{[]string{p + "os", "linux"}, ""},
	} {
		if v, err := parse(t, tt.pairs...); err != nil || v.Disk("root").Bus != tt.want {
			t.Errorf("%q: got %+v, %v", tt.pairs, v.Disk("root"), err)
		}
	}
}

// TestSupported: a setting or a value that a release lacks is refused with the release that has it, from that release on it is not.
func TestSupported(t *testing.T) {
	for _, s := range settings.Table() {
		if s.Kind != settings.Switch || !settings.Oldest.Before(s.Since) {
			continue
		}
		v, err := parse(t, s.Key(), "true")
		if err != nil {
			continue // It needs another setting.
		}
		if err := v.Supported(s.Since); err != nil {
			t.Errorf("%s on %s: %v", s.Name, s.Since, err)
		}
		if err := v.Supported(settings.Oldest); err == nil || !strings.Contains(err.Error(), "needs TrueNAS "+s.Since.String()) {
			t.Errorf("%s on %s: %v", s.Name, settings.Oldest, err)
		}
	}
	for _, s := range settings.Table() {
		for value, since := range s.Newer {
			v, err := parse(t, s.Key(), value)
			if err != nil {
				t.Fatal(err)
			}
			if old, current := v.Supported(settings.Oldest), v.Supported(since); old == nil || current != nil {
				t.Errorf("%s %s: got %v before %s, and %v since", s.Name, value, old, since, current)
			}
		}
	}
	for r, want := range map[settings.Release]string{{25, 4, 2}: "25.04.2", {25, 10, 0}: "25.10", {26, 0, 1}: "26", {25, 10, 1}: "25.10.1"} {
		if r.String() != want {
			t.Errorf("got %s, want %s", r, want)
		}
	}
}

// TestTopologyNamesTheSetting: the refusal of CPUs that do not fit names a setting that was given.
func TestTopologyNamesTheSetting(t *testing.T) {
	const p = settings.Prefix
	for _, name := range []string{"cpu_sockets", "cpu_cores", "cpu_threads"} {
		v, err := parse(t, p+name, "7")
		if err != nil || !v.HasTopology() {
			t.Fatalf("got %+v, %v", v, err)
		}
		if err := v.FitCPUs(6); err == nil || !strings.HasPrefix(err.Error(), p+name+": the VM has 6 CPUs") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if v, _ := parse(t); v.HasTopology() {
		t.Error("no setting is a topology")
	}
	// A VM of one CPU has at least one of each.
	v, err := parse(t, p+"cpu_sockets", "1")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := v.Topology(1); err != nil || got != (settings.Topology{Sockets: 1, Cores: 1, Threads: 1}) {
		t.Errorf("got %v, %v", got, err)
	}
}

// TestUSBIDs writes vendor and product as TrueNAS does.
func TestUSBIDs(t *testing.T) {
	for entry, want := range map[string][2]string{"10C4:ea60": {"0x10c4", "0xea60"}, "0x10c4:0xEA60": {"0x10c4", "0xea60"}, "usb_1_2": {}} {
		vendor, product, ok := settings.USBIDs(entry)
		if ok != (want[0] != "") || vendor != want[0] || product != want[1] {
			t.Errorf("%s: got %s %s %t", entry, vendor, product, ok)
		}
	}
}

// TestMarkdownSaysReleases: the documentation has the releases of settings and of values.
func TestMarkdownSaysReleases(t *testing.T) {
	text := settings.Markdown()
	for _, s := range settings.Table() {
		row := text[strings.Index(text, "| `"+s.Name+"`: "):]
		row = row[:strings.Index(row, "\n")]
		since := settings.Oldest
		if since.Before(s.Since) {
			since = s.Since
		}
		if !strings.Contains(row, "| "+since.String()) {
			t.Errorf("%s: since %s is missing in %s", s.Name, since, row)
		}
		for value, newer := range s.Newer {
			if !strings.Contains(row, fmt.Sprintf("; `%s` %s", value, newer)) {
				t.Errorf("%s: %s is missing in %s", s.Name, value, row)
			}
		}
	}
}
