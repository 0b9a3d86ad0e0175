package sim

import (
	"path"
	"slices"
	"strings"
)

// checkDevice is what TrueNAS checks of a device beyond the types. old is what
// an update replaces.
func (c *call) checkDevice(d *device, m *vm, old *device) error {
	var v invalid
	d.Path = ""
	switch d.DType {
	case "DISK":
		c.checkDisk(d, &v)
	case "CDROM":
		c.checkCDROM(d, &v)
	case "RAW":
		c.checkRaw(d, old, &v)
	case "NIC":
		c.checkNIC(d, &v)
	case "DISPLAY":
		c.checkDisplay(d, m, old, &v)
	case "PCI":
		v.add("attributes.pptdev", eINVAL, "Not a valid choice. The PCI device is not available for passthru.")
	case "USB":
		v.add("attributes.device", eINVAL, "Not a valid choice. The USB device is not available for passthru.")
	}
	if d.Path != "" && len(v) == 0 {
		for _, other := range c.sim.state.devicesOf(m.ID) {
			if other.Path == d.Path && (old == nil || other.ID != old.ID) {
				v.add("attributes.path", eINVAL, `%s has "%s" already configured`, m.Config.Name, d.Path)
				break
			}
		}
	}
	return v.err()
}

// volumePath is where a volume appears; a space in its name is a +.
func volumePath(name string) string { return "/dev/zvol/" + strings.ReplaceAll(name, " ", "+") }

// volumeAt is the volume that a path names, or "".
func volumeAt(p string) string {
	name, ok := strings.CutPrefix(p, "/dev/zvol/")
	if !ok {
		return ""
	}
	return strings.ReplaceAll(name, "+", " ")
}

func (c *call) checkDisk(d *device, v *invalid) {
	s := &c.sim.state
	p, name := d.text("path"), d.text("zvol_name")
	size, _ := d.Attributes["zvol_volsize"].(float64)
	if d.Attributes["create_zvol"] != true {
		switch {
		case name != "":
			v.add("attributes.zvol_name", eINVAL, `This field should not be specified when "create_zvol" is unset.`)
		case size != 0:
			v.add("attributes.zvol_volsize", eINVAL, `This field should not be specified when "create_zvol" is unset.`)
		case p == "":
			v.add("attributes.path", eINVAL, "Disk path is required.")
		case s.Datasets[volumeAt(p)] == nil || !s.Datasets[volumeAt(p)].Volume:
			v.add("attributes.path", eNOENT, "Disk path %s does not exist.", p)
		}
		d.Path = p
		return
	}
	switch {
	case name == "":
		v.add("attributes.zvol_name", eINVAL, "This field is required.")
	case size <= 0:
		v.add("attributes.zvol_volsize", eINVAL, "This field is required.")
	case s.Datasets[parentOf(name)] == nil:
		v.add("attributes.zvol_name", eINVAL, "Parent dataset %s does not exist.", parentOf(name))
	case s.Datasets[name] != nil:
		v.add("attributes.zvol_name", eEXIST, "%s already exists.", name)
	}
	d.Path = volumePath(name)
}

// checkFolder holds that a path lies in a dataset and that the hypervisor's
// user can get to it.
func (c *call) checkFolder(p string, v *invalid) {
	d, below := c.sim.state.locate(p)
	if d == nil || below == "" {
		v.add("attributes.path", eINVAL, "The path must reside within a pool mount point")
		return
	}
	for dir := path.Dir(below); dir != "."; dir = path.Dir(dir) {
		if f := d.Files[dir]; f != nil && f.Mode&0o001 == 0 {
			v.add("attributes.path", eINVAL, "'libvirt-qemu' user cannot read from '%s' path. Please ensure correct permissions are specified.", p)
			return
		}
	}
}

func (c *call) checkCDROM(d *device, v *invalid) {
	d.Path = d.text("path")
	c.checkFolder(d.Path, v)
	if f, _ := c.sim.state.file(d.Path); f == nil || f.Dir {
		v.add("attributes.path", eINVAL, "Unable to locate CDROM device at %s", d.Path)
	}
}

func (c *call) checkRaw(d *device, old *device, v *invalid) {
	d.Path = d.text("path")
	c.checkFolder(d.Path, v)
	f, _ := c.sim.state.file(d.Path)
	exists := d.Attributes["exists"] == true || old != nil && old.Path == d.Path
	size, _ := d.Attributes["size"].(float64)
	switch {
	case exists && f == nil:
		v.add("attributes.path", eINVAL, `Path must exist when "exists" is set.`)
	case !exists && f != nil:
		v.add("attributes.path", eINVAL, `Path must not exist when "exists" is unset.`)
	case !exists && size <= 0:
		v.add("attributes.size", eINVAL, "Please provide a valid size for the raw file.")
	}
}

func (c *call) checkNIC(d *device, v *invalid) {
	choices := c.sim.attachable()
	if attach := d.attach(); attach != "" && !slices.Contains(choices, attach) {
		v.add("attributes.nic_attach", eINVAL, "Not a valid choice.")
	}
	if d.Attributes["trust_guest_rx_filters"] == true && d.text("type") != "VIRTIO" {
		v.add("attributes.trust_guest_rx_filters", eINVAL, `This can only be set when "type" of NIC device is "VIRTIO"`)
	}
	if c.release() >= v26 && d.mac() == "" {
		d.Attributes["mac"] = c.sim.state.mac()
	}
}

func (c *call) checkDisplay(d *device, m *vm, old *device, v *invalid) {
	for _, other := range c.sim.state.devicesOf(m.ID) {
		if other.DType == "DISPLAY" && other.text("type") == d.text("type") && (old == nil || other.ID != old.ID) {
			v.add("attributes.type", eINVAL, "Only one Display device of type %s is supported", d.text("type"))
		}
	}
	if d.text("password") == "" {
		v.add("attributes.password", eINVAL, "Password is required for display devices")
	} else if d.text("type") == "VNC" && len(d.text("password")) > 8 {
		v.add("attributes.password", eINVAL, "Password must be 8 characters or less when type is VNC")
	}
	if _, ok := bindChoices()[d.text("bind")]; !ok {
		v.add("attributes.bind", eINVAL, "Requested bind address is not valid")
	}
	taken := c.sim.state.displayPorts(old)
	for _, key := range []string{"port", "web_port"} {
		if port, ok := d.Attributes[key].(float64); ok && taken[int(port)] {
			v.add("attributes."+key, eINVAL, "Specified display port is already in use")
		}
	}
}

// displayPorts are the ports that displays have, those of one device aside.
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

// freePort is the first display port from 5900 on that nobody has.
func freePort(taken map[int]bool) int {
	port := 5900
	for taken[port] {
		port++
	}
	taken[port] = true
	return port
}
