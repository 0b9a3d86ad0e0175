// Package settings is the table of the hardware settings of a VM that the contract has no field for, such as the CPU model or a
// passed-through device.
//
// A VirtRigaud class gives them in ExtraConfig, as truenas.io/<name>; a machine class of Omni gives the plain name. Both are
// parsed, checked and documented from [Table]. To add a setting, add a row, a field of [Values] or [Disk], and its handling by
// the server at Create, Reconfigure and Clone.
//
// An omitted setting changes nothing: a VM keeps its value. The key of a disk setting may end in a dot and the name of one
// disk, such as truenas.io/disk_bus.data; without the name it applies to all disks of the VM.
//
// The package imports nothing of this project, so that both programs and the simulator's tests may use it.
package settings
