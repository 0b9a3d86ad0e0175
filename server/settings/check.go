package settings

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// maxCPU bounds the number of a host CPU or of a NUMA node, so that a range stays small.
const maxCPU = 4096

// applyOS sets the omitted settings that follow from the operating system.
func (v *Values) applyOS() {
	if v.OS != Windows {
		return
	}
	yes := true
	if v.HyperV == nil {
		v.HyperV = &yes
	}
	if v.Clock == "" {
		v.Clock = ClockLocal
	}
	if all := v.disks[""]; all.Bus == "" {
		all.Bus = BusAHCI
		v.disks[""] = all
	}
}

// consistent refuses settings that exclude each other, independent of the rest of the class.
func (v Values) consistent() error {
	switch {
	case v.CPUModel != "" && v.CPUMode != CPUCustom:
		return refuse(Prefix+"cpu_model", "needs %scpu_mode %s", Prefix, CPUCustom)
	case v.CPUMode == CPUCustom && v.CPUModel == "":
		return refuse(Prefix+"cpu_mode", "%s needs %scpu_model", CPUCustom, Prefix)
	case v.PinVCPUs != nil && *v.PinVCPUs && v.CPUSet == "":
		return refuse(Prefix+"pin_vcpus", "needs %scpuset", Prefix)
	}
	for _, name := range slices.Sorted(maps.Keys(v.disks)) {
		if d := v.Disk(name); d.PhysicalSector != "" && d.LogicalSector == "" {
			return refuse(v.KeyFor("disk_physical_sector_size", name), "needs %sdisk_sector_size", Prefix)
		}
	}
	return nil
}

// FitCPUs refuses settings that are impossible for this number of CPUs, with an [*Error].
func (v Values) FitCPUs(cpus int64) error {
	if _, err := v.Topology(cpus); err != nil {
		return err
	}
	if pinned := int64(len(numbers(v.CPUSet))); v.PinVCPUs != nil && *v.PinVCPUs && pinned != cpus {
		return refuse(Prefix+"cpuset", "%q names %d CPUs of the NAS; with %spin_vcpus it must name %d, one for each CPU of the VM", v.CPUSet, pinned, Prefix, cpus)
	}
	return nil
}

// Supported refuses settings that a release of TrueNAS does not have, with an [*Error].
func (v Values) Supported(nas Release) error {
	for _, g := range v.given {
		since := g.row.Since
		if newer, ok := g.row.Newer[strings.ToLower(g.value)]; ok {
			since = newer
		}
		if nas.Before(since) {
			return refuse(g.key, "%q needs TrueNAS %s or later; the NAS has %s", g.value, since, nas)
		}
	}
	return nil
}

// Topology is the arrangement of a VM's CPUs: sockets, cores of each socket, threads of each core.
type Topology struct{ Sockets, Cores, Threads int64 }

func (t Topology) String() string {
	return fmt.Sprintf("%d sockets of %d cores of %d threads", t.Sockets, t.Cores, t.Threads)
}

// Topology arranges a number of CPUs. It chooses the omitted factors so that the product fits: cores first, then sockets.
func (v Values) Topology(cpus int64) (Topology, error) {
	t := Topology{v.Sockets, v.Cores, v.Threads}
	t.Threads = max(t.Threads, 1)
	if t.Cores == 0 {
		t.Sockets = max(t.Sockets, 1)
		t.Cores = max(cpus/(t.Sockets*t.Threads), 1)
	}
	if t.Sockets == 0 {
		t.Sockets = max(cpus/(t.Cores*t.Threads), 1)
	}
	if t.Sockets*t.Cores*t.Threads != cpus {
		key := v.firstGiven("cpu_sockets", "cpu_cores", "cpu_threads")
		return t, refuse(key, "the VM has %d CPUs, which %s do not make", cpus, t)
	}
	return t, nil
}

// HasTopology reports whether the class has a topology.
func (v Values) HasTopology() bool { return v.Sockets+v.Cores+v.Threads > 0 }

func (v Values) firstGiven(names ...string) string {
	for _, name := range names {
		if v.Given(name) {
			return Prefix + name
		}
	}
	return Prefix + names[0]
}

var numericSet = regexp.MustCompile(`^\d{1,4}(-\d{1,4})?(,\d{1,4}(-\d{1,4})?)*$`)

// checkSet accepts a set of numbers in TrueNAS's form: 0-3,8.
func checkSet(text string) string {
	if !numericSet.MatchString(text) {
		return "not a set of numbers such as 0-3,8"
	}
	for _, part := range strings.Split(text, ",") {
		if from, to, isRange := rangeOf(part); isRange && from >= to || max(from, to) > maxCPU {
			return fmt.Sprintf("%s is not a range of numbers from a lower to a higher one, at most %d", part, maxCPU)
		}
	}
	return ""
}

func rangeOf(part string) (from, to int, isRange bool) {
	first, last, isRange := strings.Cut(part, "-")
	from, _ = strconv.Atoi(first) // The regular expression has checked the form.
	to, _ = strconv.Atoi(last)
	return from, to, isRange
}

// numbers lists the members of a checked set.
func numbers(set string) map[int]bool {
	found := map[int]bool{}
	if set == "" {
		return found
	}
	for _, part := range strings.Split(set, ",") {
		from, to, isRange := rangeOf(part)
		if !isRange {
			to = from
		}
		for ; from <= to; from++ {
			found[from] = true
		}
	}
	return found
}

var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`)

func checkName(text string) string {
	if !plainName.MatchString(text) {
		return "allowed are up to 63 letters, digits, dots, hyphens and underscores"
	}
	return ""
}

// checkISO accepts the path of an ISO on the NAS.
func checkISO(text string) string {
	if !strings.HasPrefix(text, "/mnt/") || !strings.HasSuffix(strings.ToLower(text), ".iso") {
		return "allowed is the path of an ISO on the NAS, such as /mnt/tank/iso/virtio-win.iso"
	}
	return ""
}

// NoMedia is the value of the setting media that ejects the disc.
const NoMedia = "none"

// checkMedia accepts the URL of an ISO, the path of one on the NAS, and [NoMedia].
func checkMedia(text string) string {
	if text == NoMedia || checkISO(text) == "" {
		return ""
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || !slices.Contains([]string{"http", "https", "oci", "s3"}, u.Scheme):
		return "allowed are an http, https, oci or s3 URL, the path of an ISO on the NAS such as /mnt/tank/iso/debian.iso, and none"
	case u.User != nil:
		return "a URL must not hold a user name or a password"
	}
	return ""
}

var mediaSum = regexp.MustCompile(`^(md5:[0-9a-fA-F]{32}|sha1:[0-9a-fA-F]{40}|sha256:[0-9a-fA-F]{64}|sha512:[0-9a-fA-F]{128})$`)

func checkMediaSum(text string) string {
	if !mediaSum.MatchString(text) {
		return "allowed are md5, sha1, sha256 or sha512, a colon and the hexadecimal checksum"
	}
	return ""
}
