// Package vmrecord reads the record that TrueNAS has of a VM.
//
// All functions work on a [truenas.VM] that was read before and ask nothing of the NAS: the name for messages, the mark that
// proves which provider made the VM, the disks in boot order, the NICs, and the datasets that a VM uses. Paths of devices are
// reported as names of volumes, as in [spec.VolumeOf].
package vmrecord
