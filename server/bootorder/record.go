// Package bootorder says what a VM boots first: always, and once.
//
// A [Record] stands in the VM's description on the NAS, so that a restart of the provider forgets nothing. The devices of the VM
// are put in the order of a once for one start only, and back after it. In what order that is done decides whether a crash can
// lose a once or boot it twice, which on a machine that installs itself from the network destroys its disk:
//
//  1. The record notes the evidence of earlier starts, and the VM stops coming back with the NAS, in one call.
//  2. The device comes first.
//  3. The VM is started.
//  4. The device goes back.
//  5. The record forgets the once, and the VM comes back with the NAS again.
//
// The evidence is the size of the VM's log on the NAS, which each start adds to. After a crash between 1 and 5, the next Power
// finds the VM running, or finds the evidence changed: the once was used, and 4 and 5 are made up for. Or it finds the VM off and
// the evidence as it was: no start was reached, and it goes on with 2. Where there is no evidence, a once counts as used.
package bootorder

import "strings"

// What can be booted.
const (
	Disk    = "disk"
	Network = "network"
	CDROM   = "cdrom"
	None    = "none" // of a once: nothing but what is always booted
)

// Unproven is the evidence where there is none to be had. It proves nothing.
const Unproven = "unproven"

// Record is what a VM is to boot first. The zero Record is that of a VM that boots its disk.
type Record struct {
	Always string // Network or CDROM; empty: the disk
	Once   string // Disk, Network or CDROM, for the next start; empty: as always
	// Fired is the evidence of starts before the one that uses Once, from the moment that it may be sent. Empty: it was not.
	Fired string
}

// Parse reads what String wrote. Anything else is the zero Record.
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

// First is what the next start boots first.
func (r Record) First() string {
	switch {
	case r.Once != "":
		return r.Once
	case r.Always != "":
		return r.Always
	}
	return Disk
}

// Rest is what the starts after that boot first.
func (r Record) Rest() string { return Record{Always: r.Always}.First() }

// Ask is the record after a request; empty values ask for nothing.
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

// Fire is the record before a start that uses the once is sent.
func (r Record) Fire(evidence string) Record {
	r.Fired = evidence
	return r
}

// Used is the record after that start.
func (r Record) Used() Record { return Record{Always: r.Always} }

// Resolve decides whether the start of a fired record was reached. running is whether the VM runs now, and evidence that of now.
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
