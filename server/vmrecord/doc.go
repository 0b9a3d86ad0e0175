// Package vmrecord reads TrueNAS's record of a VM.
//
// All functions work on a [truenas.VM] that was read before, and make no calls to the NAS: the name for messages, the mark that
// proves which provider created the VM, the disks in boot order, the NICs, and the datasets that a VM uses. Paths of devices
// are reported as names of volumes, as in [spec.VolumeOf].
package vmrecord
