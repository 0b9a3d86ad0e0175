// Package diskio moves disks between the NAS and the staging places of a migration.
//
// A [Mover] imports a staged disk as a volume, exports a disk or a snapshot of it, and describes disks; its methods handle the
// RPCs ImportDisk, ExportDisk and GetDiskInfo. An import is a landing, see package landing. For an export, TrueNAS makes an
// image of a temporary clone. Both leave only the result on the NAS; the next call for the same disk, or doctor, removes the
// leftovers of a killed process.
package diskio
