package redfish

import (
	"fmt"
	"strings"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

const gib = int64(1) << 30

// part is a kind of hardware of which a VM has several.
type part struct {
	kind   string // the kind of the collection
	folder string
	prefix string // the prefix of an id, before its number
	count  func(system) int
	one    func(y system, i int) object
}

// list returns the collection of the parts.
func (s *Service) list(p part) func(*call) (object, error) {
	return s.ofMember(func(y system) object {
		paths := make([]string, p.count(y))
		for i := range paths {
			paths[i] = y.path(append(strings.Split(p.folder, "/"), fmt.Sprintf("%s%d", p.prefix, i))...)
		}
		names := strings.Split(p.folder, "/")
		return collection(p.kind, names[len(names)-1], paths)
	})
}

// one returns a handler for one of the parts.
func (s *Service) one(p part) func(*call) (object, error) {
	return func(c *call) (object, error) {
		vm, err := s.member(c)
		if err != nil {
			return nil, err
		}
		y := system{vm: vm}
		i, ok := numbered(c.params["part"], p.prefix, p.count(y))
		if !ok {
			return nil, c.missing()
		}
		body := p.one(y, i)
		body["Id"] = c.params["part"]
		return body, nil
	}
}

// The parts. All CPUs are cores of one processor, and all memory is one module, because the contract has no details.
var (
	processors = part{"ProcessorCollection", "Processors", "CPU", func(system) int { return 1 }, func(y system, _ int) object {
		return object{
			"@odata.type": "#Processor.v1_17_0.Processor", "Name": "Processor", "ProcessorType": "CPU", "Socket": "CPU0",
			"TotalCores": y.vm.GetCpu(), "TotalThreads": y.vm.GetCpu(), "Status": healthy(),
		}
	}}
	memory = part{"MemoryCollection", "Memory", "DIMM", func(system) int { return 1 }, func(y system, _ int) object {
		return object{
			"@odata.type": "#Memory.v1_16_0.Memory", "Name": "Memory", "MemoryType": "DRAM", "CapacityMiB": y.vm.GetMemoryMib(), "Status": healthy(),
		}
	}}
	ethernet = part{"EthernetInterfaceCollection", "EthernetInterfaces", "nic", func(y system) int { return len(y.vm.GetNetworks()) }, func(y system, i int) object {
		nic := y.vm.GetNetworks()[i]
		mac := strings.ToLower(nic.GetMac())
		return object{
			"@odata.type": "#EthernetInterface.v1_9_0.EthernetInterface", "Name": fmt.Sprintf("NIC %d", i), "Description": "On " + nic.GetName(),
			"MACAddress": mac, "PermanentMACAddress": mac, "InterfaceEnabled": true, "Status": healthy(),
		}
	}}
	storage = part{"StorageCollection", "Storage", "", func(system) int { return 1 }, func(y system, _ int) object {
		drives := make([]string, len(y.vm.GetDisks()))
		for i := range drives {
			drives[i] = y.path("Storage", "0", "Drives", fmt.Sprintf("disk%d", i))
		}
		return object{
			"@odata.type": "#Storage.v1_13_0.Storage", "Name": "Disks", "Status": healthy(),
			"Drives": links(drives...), "Drives@odata.count": len(drives), "Volumes": link(y.path("Storage", "0", "Volumes")),
		}
	}}
	drives = part{"DriveCollection", "Storage/0/Drives", "disk", countDisks, func(y system, i int) object {
		d := y.vm.GetDisks()[i]
		return object{
			"@odata.type": "#Drive.v1_16_0.Drive", "Name": nameOfDisk(d, i), "CapacityBytes": int64(d.GetSizeGib()) * gib,
			"MediaType": "SSD", "Status": healthy(),
			"Links": object{"Volumes": links(y.path("Storage", "0", "Volumes", fmt.Sprintf("disk%d", i)))},
		}
	}}
	volumes = part{"VolumeCollection", "Storage/0/Volumes", "disk", countDisks, func(y system, i int) object {
		d := y.vm.GetDisks()[i]
		return object{
			"@odata.type": "#Volume.v1_8_0.Volume", "Name": nameOfDisk(d, i), "CapacityBytes": int64(d.GetSizeGib()) * gib,
			"RAIDType": "None", "Status": healthy(),
			"Links": object{"Drives": links(y.path("Storage", "0", "Drives", fmt.Sprintf("disk%d", i)))},
		}
	}}
)

func countDisks(y system) int { return len(y.vm.GetDisks()) }

// nameOfDisk returns the last part of a disk's path.
func nameOfDisk(d *providerv1.DiskInfo, i int) string {
	p := strings.TrimRight(d.GetPath(), "/")
	if name := p[strings.LastIndex(p, "/")+1:]; name != "" {
		return name
	}
	return fmt.Sprintf("disk%d", i)
}
