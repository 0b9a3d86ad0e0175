// Package bootorder decides the boot source of a VM: for every start, or once.
//
// A [Record] is in the VM's description on the NAS, so that a restart of the provider loses nothing. For a once, the provider
// reorders the devices of the VM for one start only, and restores the order after it. The sequence of these steps decides
// whether a crash can lose a once or boot it twice, which destroys the disk of a machine that installs itself from the network:
//
//  1. In one call, record the evidence of earlier starts, and disable the VM's autostart.
//  2. Move the device to the front.
//  3. Start the VM.
//  4. Move the device back.
//  5. Remove the once from the record, and enable autostart.
//
// The evidence is the size of the VM's log on the NAS, to which each start appends. After a crash between 1 and 5, the next
// Power finds the VM running or the evidence changed: the once was used, and Power repeats 4 and 5. Or it finds the VM off and
// the evidence unchanged: the VM was not started, and Power continues with 2. Without evidence, a once counts as used.
package bootorder

import "strings"

// The boot sources.
const (
	Disk    = "disk"
	Network = "network"
	CDROM   = "cdrom"
	None    = "none" // as a once: cancels a pending once
)

// Unproven is the evidence when the API key may not read the log. It proves nothing.
const Unproven = "unproven"

// Record is the boot source of a VM. The zero Record boots the disk.
type Record struct {
	Always string // Network or CDROM; empty: the disk
	Once   string // Disk, Network or CDROM, for the next start; empty: the same as Always
	// Fired is the evidence of the starts before the start that uses Once; it is set before that start is sent. It is empty
	// if no such start was sent.
	Fired string
}

// Parse reads the output of String. Any other text is the zero Record.
func Parse(text string) Record {
	parts := strings.Split(text, "/")
	if len(parts) != 3 || !known(parts[0], Network, CDROM) || !known(parts[1], Disk, Network, CDROM) {
		return Record{}
	}
	return Record{parts[0], parts[1], parts[2]}
}

func known(text string, words ...string) bool {
	for _, w := range words {
		if text == w {
			return true
		}
	}
	return text == ""
}

// String is empty for the zero Record.
func (r Record) String() string {
	if r == (Record{}) {
		return ""
	}
	return r.Always + "/" + r.Once + "/" + r.Fired
}

// First is the boot source of the next start.
func (r Record) First() string {
	switch {
	case r.Once != "":
		return r.Once
	case r.Always != "":
		return r.Always
	}
	return Disk
}

// Rest is the boot source of the starts after the next one.
func (r Record) Rest() string { return Record{Always: r.Always}.First() }

// Ask returns the record after a request; empty values change nothing.
func (r Record) Ask(always, once string) Record {
	switch always {
	case "":
	case Disk:
		r.Always = ""
	default:
		r.Always = always
	}
	switch once {
	case "":
	case None:
		r.Once, r.Fired = "", ""
	default:
		r.Once, r.Fired = once, ""
	}
	return r
}

// Fire returns the record before the start that uses the once.
func (r Record) Fire(evidence string) Record {
	r.Fired = evidence
	return r
}

// Used returns the record after that start.
func (r Record) Used() Record { return Record{Always: r.Always} }

// Resolve decides whether the VM has reached the start of a fired record. running is the current state of the VM, and
// evidence the current evidence.
func (r Record) Resolve(running bool, evidence string) Record {
	switch {
	case r.Fired == "":
		return r
	case !running && evidence == r.Fired && evidence != Unproven:
		r.Fired = ""
		return r
	}
	return r.Used()
}
