// Package doctor finds and removes leftovers: things on the NAS that are marked as this provider's and that no VM needs.
//
// A [Doctor] goes by the NAS's state alone. It reports what is older than a given age, keeps what holds data or is in use, and
// looks again under the lock of the VM before it removes anything.
package doctor
