package sim

import (
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

var deviceMethods = map[string]method{
	"vm.device.query":                  {roles: []string{"VM_DEVICE_READ"}, run: deviceQuery},
	"vm.device.get_instance":           {roles: []string{"VM_DEVICE_READ"}, run: deviceGet},
	"vm.device.create":                 {roles: []string{"VM_DEVICE_WRITE"}, run: deviceCreate},
	"vm.device.update":                 {roles: []string{"VM_DEVICE_WRITE"}, run: deviceUpdate},
	"vm.device.delete":                 {roles: []string{"VM_DEVICE_DELETE", "VM_DEVICE_WRITE"}, run: deviceDelete},
	"vm.device.nic_attach_choices":     {roles: []string{"VM_DEVICE_READ"}, run: nicChoices},
	"vm.device.disk_choices":           {roles: []string{"VM_DEVICE_READ"}, run: diskChoices},
	"vm.device.bind_choices":           {roles: []string{"VM_DEVICE_READ"}, run: constant(bindChoices())},
	"vm.device.iotype_choices":         {roles: []string{"VM_DEVICE_READ"}, run: constant(sameKeys("NATIVE", "THREADS", "IO_URING"))},
	"vm.device.usb_controller_choices": {roles: []string{"VM_DEVICE_READ"}, run: constant(sameKeys(strings.Split(usbControllers, "|")...))},
	"vm.device.virtual_size":           {since: v25_10, roles: []string{"VM_DEVICE_READ"}, run: deviceVirtualSize},
	"vm.device.convert":                {since: v25_10, roles: []string{"VM_DEVICE_WRITE"}, job: true, lock: globalLock("vm.device.convert"), queue: 1, uninterruptible: true, run: deviceConvert},
}

// device is a device of a VM.
type device struct {
	ID         int
	VM         int
	DType      string
	Path       string `json:",omitempty"` // of DISK, CDROM and RAW
	Order      int
	Attributes map[string]any // in the API's form
}

type deviceRow struct {
	ID         int            `json:"id"`
	Attributes map[string]any `json:"attributes"`
	VM         int            `json:"vm"`
	Order      int            `json:"order"`
}

func (d *device) row(release) deviceRow {
	return deviceRow{ID: d.ID, Attributes: d.Attributes, VM: d.VM, Order: d.Order}
}

func (d *device) text(key string) string {
	text, _ := d.Attributes[key].(string)
	return text
}

func (d *device) attach() string { return d.text("nic_attach") }
func (d *device) mac() string    { return strings.ToLower(d.text("mac")) }

// defaultOrder returns the boot order of a device without one.
func defaultOrder(dtype string) int {
	switch dtype {
	case "CDROM":
		return 1000
	case "DISK", "RAW":
		return 1001
	}
	return 1002
}

func deviceQuery(c *call) (any, error) {
	s := &c.sim.state
	keep, of := c.prefilterID("id"), c.prefilterID("vm")
	rows := []deviceRow{}
	for _, id := range vmIDs(s.Devices) {
		if d := s.Devices[id]; keep(id) && of(d.VM) {
			rows = append(rows, d.row(c.release()))
		}
	}
	return query(c, rows)
}

// device returns the device with an id. Its error is that of get_instance.
func (s *state) device(id int) (*device, error) {
	if d := s.Devices[id]; d != nil {
		return d, nil
	}
	return nil, missing("VMDevice %d does not exist", id)
}

func deviceGet(c *call) (any, error) {
	var id int
	var options json.RawMessage
	if err := c.args([]string{"id", "options"}, &id, &options); err != nil {
		return nil, err
	}
	d, err := c.sim.state.device(id)
	if err != nil {
		return nil, err
	}
	return d.row(c.release()), nil
}

func deviceCreate(c *call) (any, error) {
	var p struct {
		Attributes json.RawMessage `json:"attributes" sim:"required"`
		VM         int             `json:"vm" sim:"required"`
		Order      *int            `json:"order" sim:"nullable"`
	}
	if err := c.args([]string{"vm_device_create"}, &p); err != nil {
		return nil, err
	}
	attributes, err := c.attributes("vm_device_create.attributes", p.Attributes)
	if err != nil {
		return nil, err
	}
	m, err := c.sim.state.vm(p.VM)
	if err != nil {
		return nil, err
	}
	d := &device{VM: m.ID, DType: attributes["dtype"].(string), Attributes: attributes}
	if err := c.checkDevice(d, m, nil); err != nil {
		return nil, err
	}
	if err := c.makeReal(d); err != nil {
		return nil, err
	}
	c.insert(d, p.Order)
	row := d.row(c.release())
	c.sim.emitRecord("vm.device.query", "added", d.ID, row)
	return row, nil
}

// insert assigns a device its id and order.
func (c *call) insert(d *device, order *int) {
	s := &c.sim.state
	s.LastDevice++
	d.ID = s.LastDevice
	s.addDevice(d)
	s.place(d, order)
}

// place assigns a device its order. If another device of the VM has it, the devices with clashing orders move, each to the first
// free number.
func (s *state) place(d *device, order *int) {
	if order == nil || *order == 0 {
		d.Order = defaultOrder(d.DType)
		return
	}
	d.Order = *order
	others := slices.DeleteFunc(s.devicesOf(d.VM), func(o *device) bool { return o.ID == d.ID })
	if !slices.ContainsFunc(others, func(o *device) bool { return o.Order == d.Order }) {
		return
	}
	used := map[int]bool{d.Order: true}
	lowest := d.Order
	for _, o := range others {
		if used[o.Order] {
			for o.Order = lowest + 1; used[o.Order]; {
				o.Order++
			}
		}
		used[o.Order] = true
		lowest = min(lowest, o.Order)
	}
}

func deviceUpdate(c *call) (any, error) {
	var id int
	var p struct {
		Attributes json.RawMessage `json:"attributes"`
		VM         *int            `json:"vm"`
		Order      *int            `json:"order" sim:"nullable"`
	}
	if err := c.args([]string{"id", "vm_device_update"}, &id, &p); err != nil {
		return nil, err
	}
	old, err := c.sim.state.device(id)
	if err != nil {
		return nil, err
	}
	d := *old
	if p.VM != nil {
		d.VM = *p.VM
	}
	m, err := c.sim.state.vm(d.VM)
	if err != nil {
		return nil, err
	}
	if p.Attributes != nil {
		if d.Attributes, err = c.merged(old, p.Attributes); err != nil {
			return nil, err
		}
		if d.DType = d.text("dtype"); d.DType != old.DType && c.release() >= v26 {
			return nil, invalid{{"attributes.dtype", "Device type cannot be changed", eINVAL}}
		}
	}
	if err := c.checkDevice(&d, m, old); err != nil {
		return nil, err
	}
	if err := c.makeReal(&d); err != nil {
		return nil, err
	}
	*old = d
	c.sim.state.byVM = nil // The device may belong to another VM now.
	if p.Order != nil {
		c.sim.state.place(old, p.Order)
	}
	row := old.row(c.release())
	c.sim.emitRecord("vm.device.query", "changed", old.ID, row)
	return row, nil
}

// merged puts new attributes over old ones; up to 25.04 they replace the old ones. Unknown attributes come in the order of the
// old ones first.
func (c *call) merged(old *device, raw json.RawMessage) (map[string]any, error) {
	if c.release() <= v25_04_2 {
		return c.attributes("vm_device_update.attributes", raw)
	}
	fresh, names, ok := membersOf(raw)
	if !ok {
		return nil, invalid{{"vm_device_update.attributes", "Input should be a valid dictionary", eINVAL}}
	}
	model := blankAttributes(old.DType)
	var whole []string
	for _, f := range fieldsOf(reflect.ValueOf(model).Elem(), c.release(), "") {
		value, given := fresh[f.name]
		if kept, ok := old.Attributes[f.name]; ok && !given {
			var err error
			if value, err = json.Marshal(kept); err != nil {
				return nil, err
			}
		}
		if value != nil {
			whole = append(whole, strconv.Quote(f.name)+":"+string(value))
		}
		names = slices.DeleteFunc(names, func(name string) bool { return name == f.name })
	}
	for _, name := range names {
		whole = append(whole, strconv.Quote(name)+":"+string(fresh[name]))
	}
	return c.attributes(c.since26("", "attributes"), json.RawMessage("{"+strings.Join(whole, ",")+"}"))
}

type deleteDeviceOptions struct {
	Force   bool `json:"force"`
	RawFile bool `json:"raw_file"`
	Zvol    bool `json:"zvol"`
}

func deviceDelete(c *call) (any, error) {
	var id int
	var o deleteDeviceOptions
	if err := c.args([]string{"id", "options"}, &id, &o); err != nil {
		return nil, err
	}
	s := &c.sim.state
	d, err := s.device(id)
	if err != nil {
		return nil, err
	}
	if m := s.VMs[d.VM]; m != nil && c.sim.appearsActive(m) {
		return nil, fail(eFAULT, "Please stop/resume associated VM before deleting VM device.")
	}
	if err := c.deleteResource(d, o); err != nil && !o.Force {
		return nil, err
	}
	c.removeDevice(d)
	return true, nil
}

// deleteResource deletes the volume or the file of a device if the options request it.
func (c *call) deleteResource(d *device, o deleteDeviceOptions) error {
	s := &c.sim.state
	if o.Zvol {
		name := volumeAt(d.Path)
		switch {
		case d.DType != "DISK":
			return fail(eFAULT, "The device is not a disk and has no zvol to destroy.")
		case name == "":
			return fail(eFAULT, "Unable to destroy zvol as disk device has misconfigured path")
		case s.Datasets[name] != nil:
			if err := c.destroyVolume(name); err != nil {
				return err
			}
		}
	}
	if o.RawFile {
		if d.DType != "RAW" {
			return fail(eFAULT, "Device is not of RAW type.")
		}
		if f, _ := s.file(d.Path); f == nil {
			return fail(eFAULT, "Failed to destroy %s", d.Path)
		}
		s.unlink(d.Path)
	}
	return nil
}

func (c *call) removeDevice(d *device) {
	c.sim.state.dropDevice(d)
	c.sim.emitRecord("vm.device.query", "removed", d.ID, nil)
}
