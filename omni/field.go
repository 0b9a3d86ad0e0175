package omni

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"virtrigaud-provider-truenas/omni/talosconfig"
)

// kind is a type of JSON Schema.
type kind string

const (
	text    kind = "string"
	integer kind = "integer"
	boolean kind = "boolean"
	array   kind = "array"
)

// field is one setting of a machine class: its place in Omni's form, and its allowed values. Both the schema for Omni and the
// check of requests are made from it.
type field struct {
	name, title, description string
	kind                     kind
	required                 bool
	initial                  any // initial value in the form
	min, max                 int64
	unit                     string
	allowed                  []string
	pattern                  *regexp.Regexp
	check                    func(string) error // of a text, for rules that a schema cannot express
	items                    []field            // of an array: the fields of its objects; none: an array of texts
}

// Limits that apply to every backend.
const (
	maxCores     = 255
	minMemoryMiB = 1024 // Talos does not start with less
	maxMemoryMiB = 8 << 20
	minDiskGiB   = 5 // Talos and its container images
	maxDiskGiB   = 1 << 20
	maxVLAN      = 4094
	maxListed    = 16
)

var (
	plainName  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.:-]{0,62}$`)
	providerRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`)
)

// classFields are the settings of a machine class, in the order of Omni's form.
func classFields() []field {
	fields := []field{
		{name: "cores", title: "CPU cores", description: "Number of virtual CPU cores", kind: integer, required: true, initial: 2, min: 1, max: maxCores},
		{name: "memory", title: "Memory (MiB)", description: "Memory in MiB", kind: integer, required: true, initial: 4096, min: minMemoryMiB, max: maxMemoryMiB, unit: "MiB"},
		{name: "disk_size", title: "Disk (GiB)", description: "Size of the system disk in GiB, where Talos is installed", kind: integer, required: true, initial: 20, min: minDiskGiB, max: maxDiskGiB, unit: "GiB"},
		{name: "storage_pool", title: "Storage pool", description: "Name of the pool that holds the machine's disks, such as tank; the provider chooses one unless given", kind: text, pattern: plainName},
		{name: "disk_type", title: "Disk type", description: "thin: data takes space when it is written; thick: the machine reserves its space at creation", kind: text, allowed: []string{"thin", "thick"}},
		{name: "firmware", title: "Firmware", description: "Firmware of the machine; UEFI unless given", kind: text, allowed: []string{"UEFI", "BIOS"}},
		{name: "secure_boot", title: "Secure boot", description: "Boot only a signed Talos image; needs UEFI", kind: boolean},
		{name: "encrypted", title: "Encrypted", description: "Require disks that are encrypted at rest; an operator creates the encrypted dataset on the NAS", kind: boolean},
		{name: "tpm", title: "TPM", description: "Give the machine a TPM 2.0", kind: boolean},
	}
	fields = append(fields, networkFields()...)
	fields = append(fields,
		field{name: "additional_disks", title: "Additional disks", description: "Disks in addition to the system disk", kind: array, items: append([]field{
			{name: "size", title: "Size (GiB)", description: "Size in GiB", kind: integer, required: true, min: 1, max: maxDiskGiB, unit: "GiB"},
			{name: "name", title: "Name", description: "Name of the disk; disk1, disk2, … unless given", kind: text, pattern: plainName},
			{name: "type", title: "Type", description: "thin or thick; thin unless given", kind: text, allowed: []string{"thin", "thick"}},
			{name: "pool", title: "Storage pool", description: "Name of the pool that holds this disk; that of the machine's other disks unless given. A machine with disks on several pools has no snapshots and clones", kind: text, pattern: plainName},
			{name: "filesystem", title: "Filesystem", description: "Talos formats the disk and mounts it at /var/mnt/ and its name, as a user volume; the disk is left as it is unless given. Needs Talos 1.10, and a name of up to 34 letters, digits and hyphens", kind: text, allowed: talosconfig.Filesystems()},
		}, diskHardwareFields()...)},
		field{name: "additional_nics", title: "Additional network cards", description: "Network cards in addition to the first one", kind: array, items: networkFields()},
	)
	fields = append(fields, talosFields()...)
	fields = append(fields,
		field{name: "tags", title: "Tags", description: "Tags of the machine", kind: array, check: checkTag},
		field{name: "provider", title: "NAS", description: "Backend that must host the machine; unless given, the one with enough free memory and the fewest machines of its set", kind: text, pattern: providerRE},
		field{name: "spread", title: "Spread", description: "even: the machines of a set as evenly over the failure domains and their NAS as possible; strict: each machine of a set on another NAS, and an error when each NAS has one; strict-domain: each in another failure domain, and an error when each has one; even unless given", kind: text, allowed: []string{spreadEven, spreadStrict, spreadStrictDomain}},
	)
	return append(fields, hardwareFields()...)
}

// networkFields are the settings of one network card.
func networkFields() []field {
	return []field{
		{name: "network_bridge", title: "Network bridge", description: "Bridge or interface of the NAS, such as br0; the provider's default unless given", kind: text, pattern: plainName},
		{name: "vlan", title: "VLAN", description: "VLAN tag; untagged unless given", kind: integer, max: maxVLAN},
		{name: "network_model", title: "Network card model", description: "virtio or e1000; virtio unless given", kind: text, allowed: []string{"virtio", "e1000"}},
		{name: "ip_addresses", title: "Static addresses", description: "Addresses, ranges such as 192.0.2.10-192.0.2.20, or networks such as 192.0.2.64/26: each machine gets one that no other machine has, and never an address of the network itself, its gateway or a DNS server; DHCP unless given", kind: array, check: checkRange},
		{name: "exclude", title: "Excluded addresses", description: "Addresses, ranges or networks within ip_addresses that no machine gets, such as those of a DHCP server", kind: array, check: checkExcluded},
		{name: "ip_prefix", title: "Prefix length", description: "Prefix length of the static addresses, such as 24", kind: integer, max: 128},
		{name: "ip_gateway", title: "Gateway", description: "Gateway of the static addresses", kind: text, check: checkAddress},
		{name: "dns_servers", title: "DNS servers", description: "DNS servers of machines with static addresses", kind: array, check: checkAddress},
		{name: "mtu", title: "MTU", description: "MTU of the network card in the guest, such as 9000; the bridge on the NAS needs at least the same; Talos's own, 1500, unless given", kind: integer, min: talosconfig.MinMTU, max: talosconfig.MaxMTU},
	}
}

func checkTag(tag string) error {
	if len(tag) > 100 || strings.ContainsAny(tag, ",\n") || strings.HasPrefix(tag, reservedTag) {
		return fmt.Errorf("%q is not a tag: at most 100 characters, no commas, and not beginning with %q", tag, reservedTag)
	}
	return nil
}

func checkAddress(text string) error {
	if _, err := netip.ParseAddr(text); err != nil {
		return fmt.Errorf("%q is not an IP address", text)
	}
	return nil
}

// mistakes returns the mistakes in the value of a setting. at is the path of the setting.
func (f field) mistakes(at string, value any) []string {
	switch v := value.(type) {
	case nil:
		if f.required {
			return []string{at + " must be given"}
		}
		return nil
	case string:
		if f.kind == text {
			return f.wrongText(at, v)
		}
	case bool:
		if f.kind == boolean {
			return nil
		}
	case float64:
		if f.kind == integer {
			return f.wrongNumber(at, v)
		}
	case []any:
		if f.kind == array {
			return f.wrongItems(at, v)
		}
	}
	wrong := fmt.Sprintf("%s must be %s", at, f.kind.article())
	if f.unit != "" {
		wrong += " of " + f.unit
	}
	return []string{wrong}
}

func (k kind) article() string {
	switch k {
	case text:
		return "a text"
	case integer:
		return "a whole number"
	case boolean:
		return "true or false"
	default:
		return "a list"
	}
}

func (f field) wrongText(at, v string) []string {
	switch {
	case v == "" && !f.required:
		return nil // An empty field of the form.
	case len(f.allowed) > 0 && !slices.Contains(f.allowed, v):
		return []string{fmt.Sprintf("%s is %q; allowed are %s", at, v, strings.Join(f.allowed, " and "))}
	case f.pattern != nil && !f.pattern.MatchString(v):
		return []string{fmt.Sprintf("%s is %q; allowed are up to 63 letters, digits, dots, hyphens and underscores", at, v)}
	}
	if f.check != nil {
		if err := f.check(v); err != nil {
			return []string{fmt.Sprintf("%s: %v", at, err)}
		}
	}
	return nil
}

func (f field) wrongNumber(at string, v float64) []string {
	if v != float64(int64(v)) {
		return []string{at + " must be a whole number"}
	}
	if int64(v) < f.min || int64(v) > f.max {
		return []string{strings.TrimSpace(fmt.Sprintf("%s is %d; allowed are %d to %d %s", at, int64(v), f.min, f.max, f.unit))}
	}
	return nil
}

func (f field) wrongItems(at string, list []any) []string {
	if len(list) > maxListed && len(f.items) > 0 {
		return []string{fmt.Sprintf("%s has %d entries; at most %d are allowed", at, len(list), maxListed)}
	}
	if len(list) > maxStrings {
		return []string{fmt.Sprintf("%s has %d entries; at most %d are allowed", at, len(list), maxStrings)}
	}
	var wrong []string
	for i, item := range list {
		at := fmt.Sprintf("%s[%d]", at, i)
		if len(f.items) > 0 {
			wrong = append(wrong, objectMistakes(at+".", f.items, item)...)
		} else {
			wrong = append(wrong, field{kind: text, required: true, check: f.check}.mistakes(at, item)...)
		}
	}
	return wrong
}

// objectMistakes returns the mistakes in an object. For an unknown setting it suggests the nearest name.
func objectMistakes(at string, fields []field, value any) []string {
	object, ok := value.(map[string]any)
	if !ok {
		return []string{strings.TrimSuffix(at, ".") + " must be a list of settings"}
	}
	var wrong []string
	for _, f := range fields {
		wrong = append(wrong, f.mistakes(at+f.name, object[f.name])...)
	}
	for _, name := range sortedKeys(object) {
		if !slices.ContainsFunc(fields, func(f field) bool { return f.name == name }) {
			wrong = append(wrong, fmt.Sprintf("%s%s is not a setting%s", at, name, nearest(name, fields)))
		}
	}
	return wrong
}
