package server_test

import (
	"strings"

	"google.golang.org/grpc/codes"
)

func badImages() []badCreate {
	path := func(p string) string { return `{"Path":"` + p + `"}` }
	const bad, not = codes.InvalidArgument, codes.FailedPrecondition
	return []badCreate{
		{"an image that is not JSON", image("gold"), bad, []string{"image_json: "}},
		{"an image that is a text", image(`"gold"`), bad, []string{"image_json: "}},
		{"an image whose path is a number", image(`{"Path":7}`), bad, []string{"image_json.Path: "}},
		{"an image with a key that does not exist", image(`{"Path":"tank/templates/gold@v1","Partition":2}`), bad, []string{"image_json.Partition: "}},
		{"a template", image(`{"TemplateName":"ubuntu"}`), bad, []string{"image_json.TemplateName: ", "ubuntu"}},
		{"a path and a URL", image(`{"Path":"tank/templates/gold@v1","URL":"https://example.com/x.raw"}`), bad, []string{"image_json", "Path", "URL"}},
		{"an empty image of an HTTP source", image(`{"Format":"template","ChecksumType":"sha256"}`), bad, []string{"image_json.Path: ", "source.libvirt"}},
		{"an empty image with a checksum", image(`{"Format":"qcow2","Checksum":"11"}`), bad, []string{"image_json.Path: "}},
		{"a snapshot that is not there", image(path("tank/templates/gold@v2")), not, []string{"image_json.Path: ", "gold@v2"}},
		{"a volume that is not there", image(path("tank/templates/silver")), not, []string{"image_json.Path: ", "silver"}},
		{"a prepared image that is not there", image(path("tank/virtrigaud/images/0123/disk@ready")), not, []string{"image_json.Path: ", "0123"}},
		{"an image outside of every pool", image(path("gold")), bad, []string{"image_json.Path: ", "gold"}},
		{"an image on a pool that is not there", image(path("nope/gold@v1")), not, []string{"image_json.Path: ", "nope/gold@v1"}},
		{"an image above the pool", image(path("tank/../flash/gold@v1")), bad, []string{"image_json.Path: "}},
		{"an image by its place in the file system", image(path("/mnt/tank/gold.qcow2")), bad, []string{"image_json.Path: "}},
		{"an image in /etc", image(path("/dev/zvol/../../etc/passwd")), bad, []string{"image_json.Path: "}},
		{"a snapshot with a path in its name", image(path("tank/templates/gold@../v1")), bad, []string{"image_json.Path: "}},
		{"two snapshots at once", image(path("tank/templates/gold@v1@v2")), bad, []string{"image_json.Path: "}},
		{"an image with a quotation mark", image(`{"Path":"tank/gold\"; rm"}`), bad, []string{"image_json.Path: "}},
		{"an image with 300 characters", image(path("tank/" + strings.Repeat("x", 300))), bad, []string{"image_json.Path: "}},
		{"an image of another pool", image(path("flash/gold@v1")), not, []string{"image_json.Path: ", "flash", "tank"}},
		{"a snapshot of a dataset", image(path("tank/templates@v1")), not, []string{"image_json.Path: ", "not of a volume"}},
		{"a dataset for a disk", image(path("tank/templates")), not, []string{"image_json.Path: ", "not a volume"}},
		{"a volume that is another VM's disk", image(path("tank/old/disk0")), not, []string{"image_json.Path: ", "by_hand"}},
		{"a URL of an unknown kind", image(`{"URL":"gopher://example.com/x.raw"}`), bad, []string{"image_json"}},
		{"a URL without a host", image(`{"URL":"https:///x.raw"}`), bad, []string{"image_json"}},
		{"a URL with a checksum of six digits", image(`{"URL":"https://example.com/x.raw","Checksum":"abcdef","ChecksumType":"sha256"}`), bad, []string{"image_json", "hecksum"}},
		{"a URL with an unknown checksum", image(`{"URL":"https://example.com/x.raw","Checksum":"abcdef","ChecksumType":"crc32"}`), bad, []string{"image_json", "crc32"}},
	}
}

func badNetworks() []badCreate {
	const bad, not = codes.InvalidArgument, codes.FailedPrecondition
	return []badCreate{
		{"networks that are not JSON", networks("[{"), bad, []string{"networks_json: "}},
		{"networks that are an object", networks("{}"), bad, []string{"networks_json: "}},
		{"a network that is a text", networks(`["br0"]`), bad, []string{"networks_json"}},
		{"a network with a key that does not exist", nic(`"MTU":9000`), bad, []string{"networks_json[0].MTU: "}},
		{"17 networks", networks("[" + strings.Repeat(`{"Bridge":"br0"},`, 16) + `{"Bridge":"br0"}]`), bad, []string{"networks_json: ", "17"}},
		{"a bridge that is not there", networks(`[{"Bridge":"br7"}]`), not, []string{"networks_json[0].Bridge: ", "br7", "br0"}},
		{"a second bridge that is not there", networks(`[{"Bridge":"br0"},{"NetworkName":"br7"}]`), not, []string{"networks_json[1]", "br7"}},
		{"no bridge, and no default", networks(`[{"Name":"eth0"}]`), bad, []string{"networks_json[0].Bridge: "}},
		{"two names for a network", networks(`[{"Bridge":"br0","NetworkName":"br20"}]`), bad, []string{"networks_json[0]", "br0", "br20"}},
		{"a VLAN without an interface", nic(`"VLAN":30`), not, []string{"networks_json[0].VLAN: ", "30"}},
		{"a VLAN that is on another bridge", networks(`[{"Bridge":"eno9","VLAN":20}]`), not, []string{"networks_json[0].VLAN: ", "eno9"}},
		{"a VLAN of 4095", nic(`"VLAN":4095`), bad, []string{"networks_json[0].VLAN: "}},
		{"a negative VLAN", nic(`"VLAN":-1`), bad, []string{"networks_json[0].VLAN: "}},
		{"a VLAN in letters", nic(`"VLAN":"blue"`), bad, []string{"networks_json", "VLAN: "}},
		{"an unknown card", nic(`"Model":"rtl8139"`), bad, []string{"networks_json[0].Model: ", "rtl8139", "virtio"}},
		{"a PCI slot", nic(`"PCISlotNumber":33`), bad, []string{"networks_json[0].PCISlotNumber: "}},
		{"a MAC address of words", nic(`"MacAddress":"mine"`), bad, []string{"networks_json[0].MacAddress: "}},
		{"a MAC address of eight bytes", nic(`"MacAddress":"02:00:00:00:00:00:00:01"`), bad, []string{"networks_json[0].MacAddress: "}},
		{"a MAC address of many", nic(`"MacAddress":"01:00:5e:00:00:01"`), bad, []string{"networks_json[0].MacAddress: "}},
		{"a MAC address twice", networks(`[{"Bridge":"br0","MacAddress":"02:00:00:00:00:01"},{"Bridge":"br0","MacAddress":"02-00-00-00-00-01"}]`), bad, []string{"networks_json[1].MacAddress: "}},
		{"a zero MAC address", nic(`"MacAddress":"00:00:00:00:00:00"`), bad, []string{"networks_json[0].MacAddress: "}},
		{"a MAC address twice, once without separators", networks(`[{"Bridge":"br0","MacAddress":"02:00:00:00:00:01"},{"Bridge":"br0","MacAddress":"020000000001"}]`), bad, []string{"networks_json[1].MacAddress: "}},
		{"a MAC address of another VM", nic(`"MacAddress":"02:00:00:00:0A:0B"`), not, []string{"networks_json[0].MacAddress: ", "another VM"}},
		{"a MAC address of another VM, with hyphens", nic(`"MacAddress":"02-00-00-00-0a-0b"`), not, []string{"networks_json[0].MacAddress: ", "another VM"}},
	}
}

func badAddresses() []badCreate {
	const bad = codes.InvalidArgument
	const host = `"StaticIP":"192.0.2.10","Prefix":24,`
	return []badCreate{
		{"an address policy that does not exist", nic(`"IPPolicy":"pool"`), bad, []string{"networks_json[0].IPPolicy: "}},
		{"a static address that is missing", nic(`"IPPolicy":"static"`), bad, []string{"networks_json[0].StaticIP: "}},
		{"an address with 300 in it", nic(`"StaticIP":"192.0.2.300","Prefix":24`), bad, []string{"networks_json[0].StaticIP: ", "192.0.2.300"}},
		{"an address that is a name", nic(`"StaticIP":"web1","Prefix":24`), bad, []string{"networks_json[0].StaticIP: "}},
		{"an unspecified address", nic(`"StaticIP":"0.0.0.0","Prefix":24`), bad, []string{"networks_json[0].StaticIP: "}},
		{"an address of a group", nic(`"StaticIP":"224.0.0.1","Prefix":24`), bad, []string{"networks_json[0].StaticIP: "}},
		{"an address of the guest itself", nic(`"StaticIP":"127.0.0.1","Prefix":8`), bad, []string{"networks_json[0].StaticIP: "}},
		{"no prefix", nic(`"StaticIP":"192.0.2.10"`), bad, []string{"networks_json[0].Prefix: "}},
		{"a prefix of 33", nic(`"StaticIP":"192.0.2.10","Prefix":33`), bad, []string{"networks_json[0].Prefix: "}},
		{"a negative prefix", nic(`"StaticIP":"192.0.2.10","Prefix":-1`), bad, []string{"networks_json[0].Prefix: "}},
		{"two prefixes", nic(`"StaticIP":"192.0.2.10/24","Prefix":25`), bad, []string{"networks_json[0].Prefix: "}},
		{"a gateway that is none", nic(host + `"Gateway":"router"`), bad, []string{"networks_json[0].Gateway: "}},
		{"a gateway of the other family", nic(host + `"Gateway":"2001:db8::1"`), bad, []string{"networks_json[0].Gateway: "}},
		{"a gateway without an address", nic(`"Gateway":"192.0.2.1"`), bad, []string{"networks_json[0].Gateway: ", "StaticIP"}},
		{"a name server that is a name", nic(host + `"DNS":"192.0.2.53,dns.example.com"`), bad, []string{"networks_json[0].DNS: ", "dns.example.com"}},
	}
}

func badDisks() []badCreate {
	const bad = codes.InvalidArgument
	return []badCreate{
		{"disks that are not JSON", disks("{]"), bad, []string{"disks_json: "}},
		{"disks that are an object", disks(`{"SizeGiB":1}`), bad, []string{"disks_json: "}},
		{"a disk of no size", disks(`[{"Name":"data"}]`), bad, []string{"disks_json[0].SizeGiB: "}},
		{"a disk of negative size", disks(`[{"Name":"data","SizeGiB":-5}]`), bad, []string{"disks_json[0].SizeGiB: ", "-5"}},
		{"a disk of two pebibytes", disks(`[{"Name":"a","SizeGiB":1},{"Name":"data","SizeGiB":2097152}]`), bad, []string{"disks_json[1].SizeGiB: "}},
		{"a disk in letters", disks(`[{"Name":"data","SizeGiB":"5Gi"}]`), bad, []string{"disks_json", "SizeGiB: "}},
		{"a disk of an unknown type", disks(`[{"Name":"data","SizeGiB":5,"Type":"nvme"}]`), bad, []string{"disks_json[0].Type: ", "nvme"}},
		{"a disk twice", disks(`[{"Name":"data","SizeGiB":5},{"Name":"data","SizeGiB":6}]`), bad, []string{"disks_json[1].Name: ", "data"}},
		{"a disk with a name of 300 characters", disks(`[{"Name":"` + strings.Repeat("d", 300) + `","SizeGiB":5}]`), bad, []string{"disks_json[0].Name: "}},
		{"a disk with a line break in its name", disks(`[{"Name":"a\nb","SizeGiB":5}]`), bad, []string{"disks_json[0].Name: "}},
		{"65 disks", disks("[" + strings.Repeat(`{"SizeGiB":1},`, 64) + `{"SizeGiB":1}]`), bad, []string{"disks_json: ", "65"}},
		{"a disk in a nested path", disks(`[{"Name":"data","SizeGiB":5,"StorageClass":"flash/vms"}]`), bad, []string{"disks_json[0].StorageClass: ", "flash/vms"}},
		{"a disk on a pool in the path above", disks(`[{"Name":"data","SizeGiB":5,"StorageClass":"../flash"}]`), bad, []string{"disks_json[0].StorageClass: "}},
		{"a disk on a pool in capitals that the NAS does not have", disks(`[{"Name":"data","SizeGiB":5},{"Name":"more","SizeGiB":5,"StorageClass":"Rust"}]`), codes.FailedPrecondition, []string{"disks_json[1].StorageClass: ", `"Rust"`}},
	}
}

func badPlacements() []badCreate {
	const bad, not = codes.InvalidArgument, codes.FailedPrecondition
	return []badCreate{
		{"a placement that is not JSON", placement("tank"), bad, []string{"placement_json: "}},
		{"a placement whose pool is a number", placement(`{"Datastore":1}`), bad, []string{"placement_json.Datastore: "}},
		{"a nested path", placement(`{"Datastore":"tank/vms"}`), bad, []string{"placement_json.Datastore: ", "tank/vms"}},
		{"a path above the pool", placement(`{"Datastore":"../flash"}`), bad, []string{"placement_json.Datastore: "}},
		{"a snapshot for a pool", placement(`{"Datastore":"tank@v1"}`), bad, []string{"placement_json.Datastore: "}},
		{"a pool that is not there", placement(`{"Datastore":"dozer"}`), not, []string{"placement_json.Datastore: ", "dozer"}},
		{"a pool that is not there, by its other name", placement(`{"StoragePod":"dozer"}`), not, []string{"placement_json.", "dozer"}},
		{"two pools", placement(`{"Datastore":"tank","StoragePod":"flash"}`), bad, []string{"placement_json.StoragePod: "}},
		{"a host", placement(`{"Datastore":"tank","Host":"node-1"}`), bad, []string{"placement_json.Host: ", "node-1"}},
		{"a rack", placement(`{"Datastore":"tank","Rack":"r1"}`), bad, []string{"placement_json.Rack: "}},
	}
}

// badSpaces request more than the pool of 1 TiB has. TrueNAS makes no volume of more than 80 % of the available space, thin ones
// included.
func badSpaces() []badCreate {
	const full = codes.ResourceExhausted
	return []badCreate{
		{"a thin root disk of 900 GiB", class(`"DiskDefaults":{"SizeGiB":900}`), full, []string{"class_json.DiskDefaults.SizeGiB: ", "no space", "tank"}},
		{"a thin disk of 900 GiB", disks(`[{"Name":"a","SizeGiB":1},{"Name":"b","SizeGiB":900}]`), full, []string{"disks_json[1].SizeGiB: ", "no space", "tank"}},
		{"thick disks of 1.2 TiB together", disks(`[{"Name":"a","Type":"thick","SizeGiB":600},{"Name":"b","Type":"thick","SizeGiB":600}]`), full, []string{"disks_json", "no space", "tank"}},
	}
}
