package spec

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/refusal"
)

// refusedFor compares an error with the field that it has to name; an empty field expects none.
func refusedFor(t *testing.T, err error, field string) {
	t.Helper()
	if field == "" {
		if err != nil {
			t.Errorf("refused: %v", err)
		}
		return
	}
	if err == nil {
		t.Errorf("%s is not refused", field)
	} else if want := refusal.InvalidArgument(field, "%s", strings.TrimPrefix(err.Error(), field+": ")); !reflect.DeepEqual(err, want) {
		t.Errorf("got %v; want a refusal of %s", err, field)
	}
}

// small is a Create request that passes all checks.
func small() *providerv1.CreateRequest {
	return &providerv1.CreateRequest{Name: "web-1", ClassJson: `{"CPU":1,"MemoryMiB":512,"DiskDefaults":{"SizeGiB":1}}`}
}

// TestLimits checks the last value that a Create accepts, and the first one beyond it.
func TestLimits(t *testing.T) {
	class := func(format string, args ...any) func(*providerv1.CreateRequest) {
		return func(r *providerv1.CreateRequest) { r.ClassJson = fmt.Sprintf(format, args...) }
	}
	list := func(n int, item string) string {
		return "[" + strings.Join(strings.Split(strings.Repeat(item+"\n", n-1)+item, "\n"), ",") + "]"
	}
	disks := func(text string) func(*providerv1.CreateRequest) {
		return func(r *providerv1.CreateRequest) { r.DisksJson = text }
	}
	nets := func(text string) func(*providerv1.CreateRequest) {
		return func(r *providerv1.CreateRequest) { r.NetworksJson = text }
	}
	numbered := func(n int) string {
		var names []string
		for i := range n {
			names = append(names, fmt.Sprintf(`{"SizeGiB":1,"Name":"d%d"}`, i))
		}
		return "[" + strings.Join(names, ",") + "]"
	}
	tags := func(tags ...string) func(*providerv1.CreateRequest) {
		return func(r *providerv1.CreateRequest) { r.Tags = tags }
	}
	const root = `"DiskDefaults":{"SizeGiB":1}`
	for _, tt := range []struct {
		name  string
		spoil func(*providerv1.CreateRequest)
		field string // refused; empty: accepted
	}{
		{"255 CPUs", class(`{"CPU":255,"MemoryMiB":512,%s}`, root), ""},
		{"256 CPUs", class(`{"CPU":256,"MemoryMiB":512,%s}`, root), "class_json.CPU"},
		{"no CPU", class(`{"CPU":0,"MemoryMiB":512,%s}`, root), "class_json.CPU"},
		{"20 MiB", class(`{"CPU":1,"MemoryMiB":20,%s}`, root), ""},
		{"19 MiB", class(`{"CPU":1,"MemoryMiB":19,%s}`, root), "class_json.MemoryMiB"},
		{"8 TiB", class(`{"CPU":1,"MemoryMiB":%d,%s}`, MaxMemoryMiB, root), ""},
		{"more than 8 TiB", class(`{"CPU":1,"MemoryMiB":%d,%s}`, MaxMemoryMiB+1, root), "class_json.MemoryMiB"},
		{"a root disk of 1 PiB", class(`{"CPU":1,"MemoryMiB":512,"DiskDefaults":{"SizeGiB":%d}}`, maxDiskGiB), ""},
		{"a root disk of more", class(`{"CPU":1,"MemoryMiB":512,"DiskDefaults":{"SizeGiB":%d}}`, maxDiskGiB+1), "class_json.DiskDefaults.SizeGiB"},
		{"a root disk below zero", class(`{"CPU":1,"MemoryMiB":512,"DiskDefaults":{"SizeGiB":-1}}`), "class_json.DiskDefaults.SizeGiB"},
		{"a root disk without a size or an image", class(`{"CPU":1,"MemoryMiB":512,"DiskDefaults":{"SizeGiB":0}}`), "class_json.DiskDefaults.SizeGiB"},
		{"a root disk of the image's size", func(r *providerv1.CreateRequest) {
			r.ClassJson, r.ImageJson = `{"CPU":1,"MemoryMiB":512,"DiskDefaults":{"SizeGiB":0}}`, `{"Path":"tank/gold@v1"}`
		}, ""},
		{"64 disks", disks(numbered(maxDisks)), ""},
		{"65 disks", disks(numbered(maxDisks + 1)), "disks_json"},
		{"a disk of 1 GiB", disks(`[{"SizeGiB":1}]`), ""},
		{"a disk without a size", disks(`[{"SizeGiB":0}]`), "disks_json[0].SizeGiB"},
		{"a disk of 1 PiB", disks(fmt.Sprintf(`[{"SizeGiB":%d}]`, maxDiskGiB)), ""},
		{"a disk of more", disks(fmt.Sprintf(`[{"SizeGiB":%d}]`, maxDiskGiB+1)), "disks_json[0].SizeGiB"},
		{"two disks of one name", disks(`[{"SizeGiB":1,"Name":"a"},{"SizeGiB":1,"Name":"a"}]`), "disks_json[1].Name"},
		{"a name that a disk without a name has", disks(`[{"SizeGiB":1,"Name":"disk2"},{"SizeGiB":1}]`), "disks_json[1].Name"},
		{"disks without names", disks(`[{"SizeGiB":1},{"SizeGiB":1}]`), ""},
		{"16 networks", nets(list(MaxNICs, `{"Bridge":"br0"}`)), ""},
		{"17 networks", nets(list(MaxNICs+1, `{"Bridge":"br0"}`)), "networks_json"},
		{"no VLAN", nets(`[{"Bridge":"br0","VLAN":0}]`), ""},
		{"the highest VLAN", nets(`[{"Bridge":"br0","VLAN":4094}]`), ""},
		{"a VLAN above it", nets(`[{"Bridge":"br0","VLAN":4095}]`), "networks_json[0].VLAN"},
		{"a VLAN below zero", nets(`[{"Bridge":"br0","VLAN":-1}]`), "networks_json[0].VLAN"},
		{"a MAC address given twice", nets(`[{"MacAddress":"02:00:00:00:0c:0d"},{"MacAddress":"02-00-00-00-0C-0D"}]`), "networks_json[1].MacAddress"},
		{"a MAC address of each NIC", nets(`[{"MacAddress":"02:00:00:00:0c:0d"},{},{},{"MacAddress":"02:00:00:00:0c:0e"}]`), ""},
		{"a multicast MAC address", nets(`[{"MacAddress":"03:00:00:00:0c:0d"}]`), "networks_json[0].MacAddress"},
		{"a MAC address of zeros", nets(`[{"MacAddress":"00:00:00:00:00:00"}]`), "networks_json[0].MacAddress"},
		{"32 tags", tags(make([]string, maxTags)...), ""},
		{"33 tags", tags(make([]string, maxTags+1)...), "tags"},
		{"a tag of 128 bytes", tags("a", strings.Repeat("x", maxTagBytes)), ""},
		{"a tag of 129 bytes", tags("a", strings.Repeat("x", maxTagBytes+1)), "tags[1]"},
		{"a TPM of another version", class(`{"CPU":1,"MemoryMiB":512,%s,"SecurityProfile":{"TPMVersion":"1.2"}}`, root), "class_json.SecurityProfile.TPMVersion"},
		{"a TPM of version 2.0", class(`{"CPU":1,"MemoryMiB":512,%s,"SecurityProfile":{"TPMEnabled":true,"TPMVersion":"2.0"}}`, root), ""},
		{"secure boot without UEFI", class(`{"CPU":1,"MemoryMiB":512,%s,"SecurityProfile":{"SecureBoot":true}}`, root), "class_json.SecurityProfile.SecureBoot"},
		{"secure boot with UEFI", class(`{"CPU":1,"MemoryMiB":512,"Firmware":"uefi",%s,"SecurityProfile":{"SecureBoot":true}}`, root), ""},
		{"a virtual IOMMU", class(`{"CPU":1,"MemoryMiB":512,%s,"SecurityProfile":{"VTDEnabled":true}}`, root), "class_json.SecurityProfile.VTDEnabled"},
		{"a provider of keys", class(`{"CPU":1,"MemoryMiB":512,%s,"SecurityProfile":{"KeyProvider":"vault"}}`, root), "class_json.SecurityProfile.KeyProvider"},
		{"CPUs added while it runs", class(`{"CPU":1,"MemoryMiB":512,%s,"PerformanceProfile":{"CPUHotAddEnabled":true}}`, root), "class_json.PerformanceProfile.CPUHotAddEnabled"},
		{"memory added while it runs", class(`{"CPU":1,"MemoryMiB":512,%s,"PerformanceProfile":{"MemoryHotAddEnabled":true}}`, root), "class_json.PerformanceProfile.MemoryHotAddEnabled"},
		{"security by virtualization", class(`{"CPU":1,"MemoryMiB":512,%s,"PerformanceProfile":{"VirtualizationBasedSecurity":true}}`, root), "class_json.PerformanceProfile.VirtualizationBasedSecurity"},
		{"threads on cores of their own", class(`{"CPU":1,"MemoryMiB":512,%s,"PerformanceProfile":{"HyperThreadingPolicy":"none"}}`, root), "class_json.PerformanceProfile.HyperThreadingPolicy"},
		{"threads as TrueNAS schedules them", class(`{"CPU":1,"MemoryMiB":512,%s,"PerformanceProfile":{"HyperThreadingPolicy":"Auto"}}`, root), ""},
		{"no policy for threads", class(`{"CPU":1,"MemoryMiB":512,%s,"PerformanceProfile":{}}`, root), ""},
		{"a limit of CPU", class(`{"CPU":1,"MemoryMiB":512,%s,"ResourceLimits":{"CPULimit":1}}`, root), "class_json.ResourceLimits.CPULimit"},
		{"a reservation of CPU", class(`{"CPU":1,"MemoryMiB":512,%s,"ResourceLimits":{"CPUReservation":1}}`, root), "class_json.ResourceLimits.CPUReservation"},
		{"a limit of memory", class(`{"CPU":1,"MemoryMiB":512,%s,"ResourceLimits":{"MemoryLimitMiB":1}}`, root), "class_json.ResourceLimits.MemoryLimitMiB"},
		{"a reservation of memory", class(`{"CPU":1,"MemoryMiB":512,%s,"ResourceLimits":{"MemoryReservationMiB":1}}`, root), "class_json.ResourceLimits.MemoryReservationMiB"},
		{"shares of CPU", class(`{"CPU":1,"MemoryMiB":512,%s,"ResourceLimits":{"CPUShares":1}}`, root), "class_json.ResourceLimits.CPUShares"},
		{"limits of zero", class(`{"CPU":1,"MemoryMiB":512,%s,"ResourceLimits":{"CPULimit":0,"MemoryLimitMiB":0}}`, root), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req := small()
			tt.spoil(req)
			_, err := Parse(req)
			refusedFor(t, err, tt.field)
		})
	}
}

// TestDiskTypes: thin and thick are recorded when they are requested by name, since Reconfigure compares only what is requested.
func TestDiskTypes(t *testing.T) {
	for text, want := range map[string][2]bool{"": {false, false}, "thin": {true, false}, "Thick": {false, true}} {
		disks, err := ParseDisks("disks_json", fmt.Sprintf(`[{"SizeGiB":1,"Type":%q}]`, text))
		if err != nil || disks[0].Thin != want[0] || disks[0].Thick != want[1] {
			t.Errorf("%q: got %+v, %v", text, disks, err)
		}
		class, err := ParseClass(fmt.Sprintf(`{"CPU":1,"MemoryMiB":512,"DiskDefaults":{"SizeGiB":1,"Type":%q}}`, text))
		if err != nil || class.Thin != want[0] || class.Thick != want[1] {
			t.Errorf("%q: got %+v, %v", text, class, err)
		}
	}
	_, err := ParseDisks("disks_json", `[{"SizeGiB":1,"Type":"fast"}]`)
	refusedFor(t, err, "disks_json[0].Type")
}

// TestSnapshotIDs: an id is as long as a name on the NAS, and never leads to another dataset.
func TestSnapshotIDs(t *testing.T) {
	for id, field := range map[string]string{
		strings.Repeat("x", MaxNASName): "", strings.Repeat("x", MaxNASName+1): "snapshot_id",
		"": "snapshot_id", "a/b": "snapshot_id", "a@b": "snapshot_id", "a b": "snapshot_id", "before_upgrade": "",
	} {
		refusedFor(t, CheckSnapshotID(id), field)
	}
}

// TestPlacements: the two names of the pool may agree, and a place on a NAS is a pool.
func TestPlacements(t *testing.T) {
	for text, want := range map[string]struct{ pool, field string }{
		``:                       {"", ""},
		`{}`:                     {"", ""},
		`{"Datastore":"flash"}`:  {"flash", ""},
		`{"StoragePod":"flash"}`: {"flash", ""},
		`{"Datastore":"flash","StoragePod":"flash"}`: {"flash", ""},
		`{"Datastore":"flash","StoragePod":"tank"}`:  {"", "placement_json.StoragePod"},
		`{"Datastore":"flash/vms"}`:                  {"", "placement_json.Datastore"},
		`{"Host":"node-1"}`:                          {"", "placement_json.Host"},
		`{"Cluster":"c","Folder":"f"}`:               {"", ""},
	} {
		pool, err := ParsePlacement("placement_json", text)
		refusedFor(t, err, want.field)
		if pool != want.pool {
			t.Errorf("%s: got %q", text, pool)
		}
	}
}
