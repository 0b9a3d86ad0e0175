package redfish

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/google/uuid"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

const pathSystems = "/redfish/v1/Systems"

// system is the current state of a VM.
type system struct {
	vm *providerv1.VMInfo
	state
}

// path returns the path of a VM below a collection: Systems, Managers or Chassis.
func path(collection, id string, below ...string) string {
	return strings.Join(append([]string{"/redfish/v1/" + collection, url.PathEscape(id)}, below...), "/")
}

func (y system) path(below ...string) string { return path("Systems", y.vm.GetId(), below...) }

// name returns the name of a VM for users.
func (y system) name() string { return y.vm.GetName() }

// attribute returns a fact about the VM from the provider's raw data, or "".
func (y system) attribute(name string) string {
	if text, ok := y.raw[name]; ok {
		return text
	}
	return y.vm.GetProviderRaw()[name]
}

// seen lists the VMs that the caller may know of.
func (s *Service) seen(c *call) ([]*providerv1.VMInfo, error) {
	all, err := s.provider.list(c.ctx, listedFor)
	var list []*providerv1.VMInfo
	for _, vm := range all {
		if vm.GetId() != "" && c.account.sees(vm) {
			list = append(list, vm)
		}
	}
	return list, err
}

// member returns the VM of a path without a query for its state.
func (s *Service) member(c *call) (*providerv1.VMInfo, error) {
	vm, err := s.provider.vm(c.ctx, c.params["system"])
	switch {
	case err != nil:
		return nil, err
	case vm == nil || !c.account.sees(vm):
		return nil, c.missing()
	}
	return vm, nil
}

// system returns the VM of a path.
func (s *Service) system(c *call) (system, error) {
	vm, err := s.member(c)
	if err != nil {
		return system{}, err
	}
	now, exists, err := s.provider.describe(c.ctx, vm.GetId())
	switch {
	case err != nil:
		return system{}, err
	case !exists:
		s.provider.forget()
		return system{}, c.missing()
	}
	return system{vm, now}, nil
}

// listOf lists a collection with one member for each VM.
func (s *Service) listOf(kind, name string) func(*call) (object, error) {
	return func(c *call) (object, error) {
		vms, err := s.seen(c)
		if err != nil {
			return nil, err
		}
		paths := make([]string, len(vms))
		for i, vm := range vms {
			paths[i] = path(name, vm.GetId())
		}
		return collection(kind, name, paths), nil
	}
}

// ofSystem makes a handler from a function that needs the state of the path's VM.
func (s *Service) ofSystem(resource func(system) object) func(*call) (object, error) {
	return func(c *call) (object, error) {
		y, err := s.system(c)
		if err != nil {
			return nil, err
		}
		return resource(y), nil
	}
}

// ofMember makes a handler from a function that does not need the VM's state.
func (s *Service) ofMember(resource func(system) object) func(*call) (object, error) {
	return func(c *call) (object, error) {
		vm, err := s.member(c)
		if err != nil {
			return nil, err
		}
		return resource(system{vm: vm}), nil
	}
}

// powerState returns the state in Redfish's terms, or null if it is unknown.
func (y system) powerState() any {
	switch y.power {
	case "On", "Off":
		return y.power
	case "Suspended":
		return "Paused"
	}
	return nil
}

// off reports whether the VM is known to be off.
func (y system) off() bool { return y.power == "Off" }

// status returns the Status of the VM: Disabled while it is off.
func (y system) status() object {
	if y.off() {
		return object{"State": "Disabled"}
	}
	return healthy()
}

// resource returns the ComputerSystem.
func (y system) resource() object {
	id := y.vm.GetId()
	body := object{
		"@odata.type": "#ComputerSystem.v1_20_0.ComputerSystem", "Id": id, "Name": y.name(), "SystemType": "Virtual",
		"Description": "Virtual machine " + y.name(), "HostName": y.name(), "PowerState": y.powerState(), "Status": y.status(),
		"ProcessorSummary": object{"Count": 1, "CoreCount": y.vm.GetCpu(), "LogicalProcessorCount": y.vm.GetCpu()},
		"MemorySummary":    object{"TotalSystemMemoryGiB": float64(y.vm.GetMemoryMib()) / 1024},
		"Processors":       link(y.path("Processors")), "Memory": link(y.path("Memory")), "Storage": link(y.path("Storage")),
		"EthernetInterfaces": link(y.path("EthernetInterfaces")), "SecureBoot": link(y.path("SecureBoot")),
		"VirtualMedia": link(y.mediaPath()),
		"Boot":         y.boot(),
		"Actions":      object{"#ComputerSystem.Reset": object{"target": y.path("Actions", "ComputerSystem.Reset"), "@Redfish.ActionInfo": y.path("ResetActionInfo"), "ResetType@Redfish.AllowableValues": resetTypes()}},
		"Links":        object{"ManagedBy": links(path("Managers", id)), "Chassis": links(path("Chassis", id))},
	}
	if _, err := uuid.Parse(id); err == nil {
		body["UUID"] = id
	}
	return body
}

// mode returns the VM's firmware in Redfish's terms, or "".
func (y system) mode() string {
	switch y.attribute("bootloader") {
	case "UEFI":
		return "UEFI"
	case "UEFI_CSM":
		return "Legacy"
	}
	return ""
}

func (y system) secureBoot() object {
	on := y.attribute("secure_boot") == "true"
	current := "Disabled"
	if on {
		current = "Enabled"
	}
	body := object{
		"@odata.type": "#SecureBoot.v1_1_0.SecureBoot", "Id": "SecureBoot", "Name": "UEFI Secure Boot",
		"SecureBootEnable": on, "SecureBootCurrentBoot": current,
	}
	if on {
		body["SecureBootMode"] = "UserMode"
	}
	return body
}

// manager returns the virtual BMC of the VM.
func (y system) manager() object {
	id := y.vm.GetId()
	body := object{
		"@odata.type": "#Manager.v1_17_0.Manager", "Id": id, "Name": "Manager of " + y.name(), "ManagerType": "BMC",
		"Status": healthy(), "PowerState": "On", "FirmwareVersion": "1.0",
		"VirtualMedia": link(y.mediaPath()),
		"Links":        object{"ManagerForServers": links(path("Systems", id)), "ManagerForChassis": links(path("Chassis", id))},
	}
	if parsed, err := uuid.Parse(id); err == nil {
		body["UUID"] = uuid.NewSHA1(parsed, []byte("manager")).String()
	}
	return body
}

func (y system) chassis() object {
	id := y.vm.GetId()
	return object{
		"@odata.type": "#Chassis.v1_22_0.Chassis", "Id": id, "Name": "Chassis of " + y.name(), "ChassisType": "Other",
		"Manufacturer": "QEMU", "Model": "Virtual machine", "PowerState": y.powerState(), "Status": y.status(),
		"Links": object{"ComputerSystems": links(path("Systems", id)), "ManagedBy": links(path("Managers", id))},
	}
}

// numbered returns the index in a name such as "nic2", which has to be below count.
func numbered(name, prefix string, count int) (int, bool) {
	for i := range count {
		if name == fmt.Sprintf("%s%d", prefix, i) {
			return i, true
		}
	}
	return 0, false
}
