package sim

import (
	"path"
	"slices"
	"strings"
)

// checkDevice makes TrueNAS's checks of a device beyond its types, in TrueNAS's order. old is the device that an update replaces.
func (c *call) checkDevice(d *device, m *vm, old *device) error {
	var v invalid
	d.Path = ""
	switch d.DType {
	case "DISK":
		c.checkDisk(d, m, old, &v)
	case "CDROM":
		if err := c.checkCDROM(d, m, old, &v); err != nil {
			return err
		}
	case "RAW":
		c.checkRaw(d, m, old, &v)
	case "NIC":
		c.checkNIC(d, m, old, &v)
	case "DISPLAY":
		c.checkDisplay(d, m, old, &v)
	case "PCI":
		c.checkPCI(d, m, old, &v)
	case "USB":
		c.checkUSB(d, m, old, &v)
	}
	return v.err()
}

// since26 chooses a text by release: that of 25.10 and before, or that of 26 on.
func (c *call) since26(before, after string) string {
	if c.release() >= v26 {
		return after
	}
	return before
}

// onceOnly reports a path that another device of the VM has.
func (c *call) onceOnly(d *device, m *vm, old *device, v *invalid) {
	if d.Path == "" {
		return
	}
	for _, other := range c.sim.state.devicesOf(m.ID) {
		if other.Path == d.Path && (old == nil || other.ID != old.ID) {
			v.add("attributes.path", eINVAL, `%s has "%s" already configured`, m.Config.Name, d.Path)
			return
		}
	}
}

// checkStorage makes the common checks of disks and raw files. TrueNAS generates the serial, whatever the request contains, and
// never changes it.
func (c *call) checkStorage(d *device, m *vm, old *device, v *invalid) {
	c.onceOnly(d, m, old, v)
	if d.Attributes["physical_sectorsize"] != nil && d.Attributes["logical_sectorsize"] == nil {
		v.add("attributes.logical_sectorsize", eINVAL, "%s", c.since26("This field must be provided when physical_sectorsize is specified.",
			`This field "logical_sectorsize" must be provided when physical_sectorsize is specified.`))
	}
	switch {
	case old == nil:
		d.Attributes["serial"] = c.sim.state.serial()
	case d.text("serial") == "":
		d.Attributes["serial"] = old.Attributes["serial"]
	case d.text("serial") != old.text("serial"):
		v.add("attributes.serial", eINVAL, "This field is read-only.")
	}
}

func (c *call) checkDisk(d *device, m *vm, old *device, v *invalid) {
	if d.Attributes["create_zvol"] == true {
		if !c.checkNewVolume(d, v) {
			return
		}
	} else {
		c.checkVolume(d, v)
	}
	c.checkStorage(d, m, old, v)
}

// checkNewVolume checks a volume to be made. false ends the checks.
func (c *call) checkNewVolume(d *device, v *invalid) bool {
	s := &c.sim.state
	name := d.text("zvol_name")
	size, _ := d.Attributes["zvol_volsize"].(float64)
	if name == "" {
		v.add("attributes.zvol_name", eINVAL, "This field is required.")
	}
	if size <= 0 {
		v.add("attributes.zvol_volsize", eINVAL, "This field is required.")
	}
	if len(*v) > 0 {
		return false
	}
	d.Path = volumePath(name)
	if s.Datasets[name] != nil {
		v.add("attributes.zvol_name", eINVAL, "'%s' already exists.", name)
	} else if parent := parentOf(name); s.Datasets[parent] == nil {
		v.add("attributes.zvol_name", eNOENT, "%s", c.since26("Parent dataset "+parent, "Parent '"+parent+"'")+" does not exist.")
	}
	return true
}

func (c *call) checkVolume(d *device, v *invalid) {
	s := &c.sim.state
	p := d.text("path")
	for _, key := range []string{"zvol_name", "zvol_volsize"} {
		if d.Attributes[key] != nil && d.Attributes[key] != "" && d.Attributes[key] != 0.0 {
			v.add("attributes."+key, eINVAL, `This field should not be specified when "create_zvol" is unset.`)
		}
	}
	name := volumeAt(p)
	switch {
	case p == "":
		v.add("attributes.path", eINVAL, "Disk path is required.")
	case name == "":
		v.add("attributes.path", eINVAL, "%s", c.since26(`Disk path must start with "/dev/zvol/"`, `Disk path must start with "/dev/zvol/".`))
	case s.Datasets[name] == nil && c.release() >= v26:
		v.add("attributes.path", eNOENT, "Zvol (%s) path (%s) does not exist.", name, p)
	case s.Datasets[name] == nil:
		v.add("attributes.path", eNOENT, "Zvol referenced by path does not exist")
	case !s.Datasets[name].Volume && c.release() >= v26:
		v.add("attributes.path", eINVAL, "Path '%s' (%s) is not a volume.", p, name)
	case !s.Datasets[name].Volume:
		v.add("attributes.path", eINVAL, "Path specified does not reference to a VOLUME")
	}
	d.Path = p
}

// within reports a path outside of all pools.
func (c *call) within(p string, v *invalid) {
	if d, below := c.sim.state.locate(p); d == nil || below == "" {
		v.add("attributes.path", eINVAL, "The path must reside within a pool mount point")
	}
}

// checkCDROM requires a file that the hypervisor's user can read. From 25.10 on it must not be in the root of a pool.
func (c *call) checkCDROM(d *device, m *vm, old *device, v *invalid) error {
	d.Path = d.text("path")
	f, in := c.sim.state.file(d.Path)
	if c.release() >= v26 && f == nil {
		v.add("attributes.path", eINVAL, "Path %s does not exist", d.Path)
	}
	c.within(d.Path, v)
	c.onceOnly(d, m, old, v)
	switch {
	case len(*v) > 0:
	case f == nil:
		return fail(eNOENT, "Path not found.")
	case parentOf(in.Name) == "" && c.release() == v25_10:
		v.add("attributes.path", eINVAL, "The path must be a dataset or a directory within a dataset.")
	case parentOf(in.Name) == "" && c.release() >= v26:
		v.add("attributes.path", eINVAL, "The specified path is located in the root dataset of pool '%[1]s'. "+
			"VM resources must be stored within a child dataset of the pool, not the pool root. "+
			"Create a dataset under '%[1]s' (e.g., %[1]s/iso) and move your files there.", in.Name)
	default:
		c.readable(d.Path, v)
	}
	return nil
}

// readable reports a folder that the hypervisor's user cannot enter.
func (c *call) readable(p string, v *invalid) {
	d, below := c.sim.state.locate(p)
	for dir := path.Dir(below); dir != "."; dir = path.Dir(dir) {
		if f := d.Files[dir]; f != nil && f.Mode&0o001 == 0 {
			v.add("attributes.path", eINVAL, "'libvirt-qemu' user cannot read from '%s' path. Please ensure correct permissions are specified.", p)
			return
		}
	}
}

// checkRaw relies on "exists", which TrueNAS does not store, so every update has to set it again.
func (c *call) checkRaw(d *device, m *vm, old *device, v *invalid) {
	d.Path = d.text("path")
	f, _ := c.sim.state.file(d.Path)
	size, _ := d.Attributes["size"].(float64)
	switch exists := d.Attributes["exists"] == true; {
	case exists && f == nil:
		v.add("attributes.path", eINVAL, `Path must exist when "exists" is set.`)
	case !exists && f != nil:
		v.add("attributes.path", eINVAL, `Path must not exist when "exists" is unset.`)
	case !exists && size <= 0:
		v.add("attributes.size", eINVAL, "Please provide a valid size for the raw file.")
	}
	c.within(d.Path, v)
	c.checkStorage(d, m, old, v)
}

func (c *call) checkNIC(d *device, m *vm, old *device, v *invalid) {
	attach, trust := d.attach(), d.Attributes["trust_guest_rx_filters"] == true
	bridge := c.release() <= v25_10 && strings.HasPrefix(attach, "br") || slices.ContainsFunc(c.sim.cfg.Interfaces, func(i Interface) bool {
		return i.Name == attach && i.Type == "BRIDGE"
	})
	if attach != "" && !slices.Contains(c.sim.attachable(), attach) {
		v.add("attributes.nic_attach", eINVAL, "Not a valid choice.")
	} else if bridge && trust {
		v.add("attributes.trust_guest_rx_filters", eINVAL, `This can only be set when "nic_attach" is not a bridge device`)
	}
	if trust && d.text("type") == "E1000" {
		v.add("attributes.trust_guest_rx_filters", eINVAL, `This can only be set when "type" of NIC device is "VIRTIO"`)
	}
	if strings.HasPrefix(d.mac(), "ff") {
		v.add("attributes.mac", eINVAL, "MAC address must not start with `ff`")
	}
	if c.release() >= v26 {
		c.ownMAC(d, m, old, v)
	}
}

// ownMAC gives a NIC an address from 26 on, and reports one that another NIC of the VM has.
func (c *call) ownMAC(d *device, m *vm, old *device, v *invalid) {
	if d.mac() == "" {
		d.Attributes["mac"] = c.sim.state.mac()
	}
	for _, other := range c.sim.state.devicesOf(m.ID) {
		if other.DType == "NIC" && other.mac() == d.mac() && (old == nil || other.ID != old.ID) {
			v.add("attributes.mac", eINVAL, "%s already has a NIC with MAC address '%s' configured", m.Config.Name, d.text("mac"))
			return
		}
	}
}

func (c *call) checkDisplay(d *device, m *vm, old *device, v *invalid) {
	for _, other := range c.sim.state.devicesOf(m.ID) {
		if other.DType == "DISPLAY" && other.text("type") == d.text("type") && (old == nil || other.ID != old.ID) {
			v.add("attributes.type", eINVAL, "Only one %s Display device is supported", d.text("type"))
			break
		}
	}
	password := strings.TrimSpace(d.text("password"))
	if password == "" {
		v.add("attributes.password", eINVAL, "Password is required for display devices")
	}
	if d.text("type") == "VNC" && d.Attributes["web"] == true {
		v.add("attributes.web", eINVAL, "Web access is not supported for VNC display devices, please use SPICE instead")
	}
	if d.text("type") == "VNC" && len(password) > 8 {
		v.add("attributes.password", eINVAL, "Password for VNC display devices must be 8 characters or less")
	}
	taken := c.sim.state.displayPorts(old)
	for _, key := range []string{"port", "web_port"} {
		if port, ok := d.Attributes[key].(float64); ok && taken[int(port)] {
			v.add("attributes."+key, eINVAL, "Specified display port(%d) is already in use by another Display device", int(port))
		}
	}
	if _, ok := bindChoices()[d.text("bind")]; !ok {
		v.add("attributes.bind", eINVAL, "Requested bind address is not valid")
	}
}

// volumePath returns the device path of a volume. A space in its name becomes a +.
func volumePath(name string) string { return "/dev/zvol/" + strings.ReplaceAll(name, " ", "+") }

// volumeAt returns the volume at a path, or "".
func volumeAt(p string) string {
	name, ok := strings.CutPrefix(p, "/dev/zvol/")
	if !ok {
		return ""
	}
	return strings.ReplaceAll(name, "+", " ")
}

// displayPorts returns the ports of all displays except one.
func (s *state) displayPorts(but *device) map[int]bool {
	taken := map[int]bool{}
	for _, d := range s.Devices {
		if d.DType != "DISPLAY" || but != nil && d.ID == but.ID {
			continue
		}
		for _, key := range []string{"port", "web_port"} {
			if port, ok := d.Attributes[key].(float64); ok {
				taken[int(port)] = true
			}
		}
	}
	return taken
}

// freePort returns the first free display port from 5900 on.
func freePort(taken map[int]bool) int {
	port := 5900
	for taken[port] {
		port++
	}
	taken[port] = true
	return port
}
