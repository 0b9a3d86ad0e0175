// Package hardware turns the hardware settings of a class into fields and devices of a VM on TrueNAS.
//
// [Compare] lists the fields in which a VM differs from its class. [Devices] lists the screen and the devices of the NAS in the
// class; the callers handle disks, NICs and CD-ROMs. [Fit] refuses settings that the NAS does not have. The settings
// themselves, as users write them, are in package settings.
package hardware
