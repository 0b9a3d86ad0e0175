// Package doctor finds and removes leftovers: objects on the NAS that have this provider's mark and that no VM needs.
//
// A [Doctor] decides by the NAS's state alone. It reports objects older than a given age, keeps objects that contain data or
// are in use, and checks again under the lock of the VM before it removes anything.
package doctor
