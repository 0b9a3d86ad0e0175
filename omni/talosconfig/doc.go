// Package talosconfig makes patches of Talos's machine configuration, and checks the values for Talos in a machine class. It
// makes no calls and does not depend on Omni.
//
//	patch, err := talosconfig.UserVolumes([]talosconfig.Volume{{Name: "data", Filesystem: "xfs", Serial: "6e5c7d1a"}})
//
// Equal values make equal bytes, so writing a patch again changes nothing.
//
// Two things surprise. A NIC that the configuration names loses Talos's default DHCP, so [MTU] enables DHCP again. Talos reads
// no serials of VirtIO disks (disk.serial is empty), so [UserVolumes] finds a disk by the links below /dev/disk/by-id, which
// contain the serial for every bus.
package talosconfig
