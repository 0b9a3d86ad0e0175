// Package talosconfig makes patches of Talos's machine configuration, and checks the values for Talos in a machine class. It
// makes no calls and does not know Omni.
//
//	patch, err := talosconfig.UserVolumes([]talosconfig.Volume{{Name: "data", Filesystem: "xfs", Serial: "6e5c7d1a"}})
//
// The same values always make the same bytes, so that writing a patch again changes nothing.
//
// Two things surprise. A NIC that the configuration names loses Talos's default DHCP, so that [MTU] enables DHCP again. And
// Talos reads no serial of VirtIO disks (its disk.serial is empty), so that [UserVolumes] finds a disk by the links below
// /dev/disk/by-id, which contain the serial for every bus.
package talosconfig
