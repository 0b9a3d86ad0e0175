package omni

import (
	"regexp"
	"strconv"
	"strings"
)

// settingOf maps field names of the contract to settings of the machine class.
var settingOf = strings.NewReplacer(
	"class_json.ExtraConfig.truenas.io/", "", "truenas.io/", "",
	"class_json.CPU", "cores", "class_json.MemoryMiB", "memory", "class_json.DiskDefaults.SizeGiB", "disk_size", "class_json.DiskDefaults.Type", "disk_type",
	"class_json.Firmware", "firmware", "class_json.SecurityProfile.SecureBoot", "secure_boot", "class_json.SecurityProfile.TPMEnabled", "tpm",
	"class_json.SecurityProfile.EncryptionEnabled", "encrypted",
	"class_json.SecurityProfile.TPMVersion", "tpm", "class_json", "the machine class",
	"placement_json.Datastore", "storage_pool", "placement_json", "storage_pool", "storage_hint", "storage_pool",
	"networks_json", "the network cards", "disks_json", "additional_disks",
	"image_json.source.libvirt.url", "the image", "image_json.source.libvirt", "the image", "image_json.Path", "the image", "image_json", "the image",
)

// listed matches a field of a network or of an additional disk.
var listed = regexp.MustCompile(`(networks|disks)_json\[(\d+)\](?:\.(\w+))?`)

// ofOneDisk matches the key of a hardware setting of one disk.
var ofOneDisk = regexp.MustCompile(`truenas\.io/disk_(\w+)\.([A-Za-z0-9][\w.-]*\w|\w)`)

var nameOf = map[string]string{
	"Bridge": "network_bridge", "NetworkName": "network_bridge", "VLAN": "vlan", "Model": "network_model", "StaticIP": "ip_addresses",
	"Prefix": "ip_prefix", "Gateway": "ip_gateway", "DNS": "dns_servers", "SizeGiB": "size", "Type": "type", "Name": "name", "StorageClass": "pool",
}

// classTerms replaces the contract's field names in a message with those of the machine class, which the user knows.
func classTerms(message string) string {
	message = listed.ReplaceAllStringFunc(message, func(field string) string {
		parts := listed.FindStringSubmatch(field)
		n, _ := strconv.Atoi(parts[2]) // The expression matched digits.
		name := or(nameOf[parts[3]], parts[3])
		switch {
		case parts[1] == "networks" && n == 0 && name == "":
			return "the first network card"
		case parts[1] == "networks" && n == 0:
			return name
		case parts[1] == "networks":
			return strings.TrimSuffix("additional_nics["+strconv.Itoa(n-1)+"]."+name, ".")
		}
		return strings.TrimSuffix("additional_disks["+parts[2]+"]."+name, ".")
	})
	return settingOf.Replace(ofOneDisk.ReplaceAllString(message, "truenas.io/additional_disks[$2].$1"))
}
