package server_test

import (
	"strings"

	"google.golang.org/grpc/codes"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

func badNames() []badCreate {
	long := strings.Repeat("x", 300)
	return []badCreate{
		{"no name", named(""), codes.InvalidArgument, []string{"name: "}},
		{"a name of 300 characters", named(long), codes.InvalidArgument, []string{"name: ", "300"}},
		{"a name with a line break", named("web\n1"), codes.InvalidArgument, []string{"name: ", "control"}},
		{"a name with a NUL", named("web\x001"), codes.InvalidArgument, []string{"name: ", "control"}},
		{"a name with a DEL", named("web\x7f"), codes.InvalidArgument, []string{"name: ", "control"}},
		{"33 tags", func(r *providerv1.CreateRequest) { r.Tags = make([]string, 33) }, codes.InvalidArgument, []string{"tags: ", "33"}},
		{"a tag of 300 bytes", func(r *providerv1.CreateRequest) { r.Tags = []string{"a", long} }, codes.InvalidArgument, []string{"tags[1]: "}},
		{"a target host", func(r *providerv1.CreateRequest) { r.TargetHostId = "host-1" }, codes.InvalidArgument, []string{"target_host_id: ", "host-1"}},
		{"meta data that is a list", func(r *providerv1.CreateRequest) { r.MetaData = []byte("- a\n- b\n") }, codes.InvalidArgument, []string{"meta_data: "}},
		{"meta data that is a word", func(r *providerv1.CreateRequest) { r.MetaData = []byte("web1") }, codes.InvalidArgument, []string{"meta_data: "}},
		{"meta data that is not YAML", func(r *providerv1.CreateRequest) { r.MetaData = []byte("a: [b") }, codes.InvalidArgument, []string{"meta_data: "}},
	}
}

func badClasses() []badCreate {
	const no = codes.InvalidArgument
	return []badCreate{
		{"no class", rawClass(""), no, []string{"class_json: "}},
		{"a class that is null", rawClass("null"), no, []string{"class_json: "}},
		{"a class that is not JSON", rawClass("{"), no, []string{"class_json: "}},
		{"a class that is a list", rawClass("[]"), no, []string{"class_json: "}},
		{"a class and more", rawClass(`{"CPU":2,"MemoryMiB":2048,"Firmware":"UEFI"}{}`), no, []string{"class_json: "}},
		{"a class of nothing", rawClass("{}"), no, []string{"class_json.CPU: "}},
		{"no CPU", class(`"CPU":0`), no, []string{"class_json.CPU: ", "255"}},
		{"negative number of CPUs", class(`"CPU":-1`), no, []string{"class_json.CPU: "}},
		{"256 CPUs", class(`"CPU":256`), no, []string{"class_json.CPU: ", "256"}},
		{"more CPUs than there are numbers", class(`"CPU":99999999999999999999`), no, []string{"class_json.CPU: "}},
		{"half a CPU", class(`"CPU":0.5`), no, []string{"class_json.CPU: "}},
		{"CPUs in letters", class(`"CPU":"two"`), no, []string{"class_json.CPU: "}},
		{"no memory", class(`"MemoryMiB":0`), no, []string{"class_json.MemoryMiB: "}},
		{"19 MiB of memory", class(`"MemoryMiB":19`), no, []string{"class_json.MemoryMiB: ", "20"}},
		{"negative memory", class(`"MemoryMiB":-2048`), no, []string{"class_json.MemoryMiB: "}},
		{"an exbibyte of memory", class(`"MemoryMiB":1099511627776`), no, []string{"class_json.MemoryMiB: "}},
		{"memory in letters", class(`"MemoryMiB":"4Gi"`), no, []string{"class_json.MemoryMiB: "}},
		{"unknown firmware", class(`"Firmware":"coreboot"`), no, []string{"class_json.Firmware: ", "coreboot", "UEFI"}},
		{"firmware that is a number", class(`"Firmware":1`), no, []string{"class_json.Firmware: "}},
		{"a root disk of negative size", class(`"DiskDefaults":{"SizeGiB":-1}`), no, []string{"class_json.DiskDefaults.SizeGiB: "}},
		{"a root disk beyond all pools", class(`"DiskDefaults":{"SizeGiB":9223372036854775807}`), no, []string{"class_json.DiskDefaults.SizeGiB: "}},
		{"a root disk smaller than its image", class(`"DiskDefaults":{"SizeGiB":9}`), no, []string{"class_json.DiskDefaults.SizeGiB: ", "image"}},
		{"a root disk of an unknown type", class(`"DiskDefaults":{"SizeGiB":20,"Type":"eager_zero"}`), no, []string{"class_json.DiskDefaults.Type: ", "eager_zero", "thick"}},
		{"a root disk of a list", class(`"DiskDefaults":[]`), no, []string{"class_json.DiskDefaults"}},
		{"a blank root disk of no size", func(r *providerv1.CreateRequest) {
			r.ImageJson, r.ClassJson = "", `{"CPU":2,"MemoryMiB":2048}`
		}, no, []string{"class_json.DiskDefaults.SizeGiB: "}},
		{"a setting that does not exist", class(`"GPU":{"Count":2}`), no, []string{"class_json.GPU: "}},
		{"a setting that does not exist, deep inside", class(`"DiskDefaults":{"SizeGiB":20,"IOPS":500}`), no, []string{"class_json.DiskDefaults.IOPS: "}},
	}
}

// badProfiles request features that TrueNAS lacks, and that would be easy to ignore.
func badProfiles() []badCreate {
	security := func(more string) func(*providerv1.CreateRequest) { return class(`"SecurityProfile":{` + more + `}`) }
	performance := func(more string) func(*providerv1.CreateRequest) {
		return class(`"PerformanceProfile":{` + more + `}`)
	}
	limits := func(more string) func(*providerv1.CreateRequest) { return class(`"ResourceLimits":{` + more + `}`) }
	const no = codes.InvalidArgument
	return []badCreate{
		{"secure boot with BIOS", class(`"Firmware":"BIOS","SecurityProfile":{"SecureBoot":true}`), no, []string{"class_json.SecurityProfile.SecureBoot: ", "UEFI"}},
		{"secure boot and no firmware named", class(`"Firmware":"","SecurityProfile":{"SecureBoot":true}`), no, []string{"class_json.SecurityProfile.SecureBoot: "}},
		{"secure boot in letters", security(`"SecureBoot":"yes"`), no, []string{"class_json.SecurityProfile.SecureBoot: ", "true or false"}},
		{"a TPM of another version", security(`"TPMEnabled":true,"TPMVersion":"1.2"`), no, []string{"class_json.SecurityProfile.TPMVersion: ", "1.2"}},
		{"a virtual IOMMU", security(`"VTDEnabled":true`), no, []string{"class_json.SecurityProfile.VTDEnabled: "}},
		{"encryption below a dataset that is not encrypted", security(`"EncryptionEnabled":true`), codes.FailedPrecondition, []string{"class_json.SecurityProfile.EncryptionEnabled: "}},
		{"required encryption", security(`"RequireEncryption":true`), codes.FailedPrecondition, []string{"class_json.SecurityProfile.EncryptionEnabled: "}},
		{"a key provider", security(`"KeyProvider":"vault"`), no, []string{"class_json.SecurityProfile.KeyProvider: "}},
		{"CPUs added while running", performance(`"CPUHotAddEnabled":true`), no, []string{"class_json.PerformanceProfile.CPUHotAddEnabled: "}},
		{"memory added while running", performance(`"MemoryHotAddEnabled":true`), no, []string{"class_json.PerformanceProfile.MemoryHotAddEnabled: "}},
		{"virtualization-based security", performance(`"VirtualizationBasedSecurity":true`), no, []string{"class_json.PerformanceProfile.VirtualizationBasedSecurity: "}},
		{"a hyper-threading policy", performance(`"HyperThreadingPolicy":"prefer"`), no, []string{"class_json.PerformanceProfile.HyperThreadingPolicy: "}},
		{"a CPU limit", limits(`"CPULimit":2000`), no, []string{"class_json.ResourceLimits.CPULimit: "}},
		{"a CPU reservation", limits(`"CPUReservation":500`), no, []string{"class_json.ResourceLimits.CPUReservation: "}},
		{"a memory limit", limits(`"MemoryLimitMiB":1024`), no, []string{"class_json.ResourceLimits.MemoryLimitMiB: "}},
		{"a memory reservation", limits(`"MemoryReservationMiB":1024`), no, []string{"class_json.ResourceLimits.MemoryReservationMiB: "}},
		{"CPU shares", limits(`"CPUShares":2048`), no, []string{"class_json.ResourceLimits.CPUShares: "}},
	}
}

// badOwners request names that belong to another owner.
func badOwners() []badCreate {
	owned := func(name, uid string) func(*providerv1.CreateRequest) {
		return func(r *providerv1.CreateRequest) {
			r.Name, r.Owner = name, nil
			if uid != "" {
				r.Owner = &providerv1.ObjectIdentity{Uid: uid}
			}
		}
	}
	const no = codes.AlreadyExists
	return []badCreate{
		{"a VM of another owner", owned("owned", "uid-2"), no, []string{"owned", "owner"}},
		{"a VM of an owner, for a request without one", owned("owned", ""), no, []string{"owned", "owner"}},
		{"a VM without an owner, for an owner", owned("unowned", "uid-1b"), no, []string{"unowned", "owner"}},
		{"a second VM for one owner", owned("another", "uid-1"), no, []string{"owned"}},
		{"the name of a VM made by hand", owned("by-hand", ""), no, []string{"by_hand"}},
		{"a dataset of another provider", owned("theirs", ""), no, []string{"tank/virtrigaud/vms/theirs"}},
	}
}
