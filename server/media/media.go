// Package media records the ISO in the CD-ROM drive for virtual media of a VM.
//
// A [Record] is in the VM's description on the NAS, so that a restart of the provider loses nothing and two replicas agree. It
// names files, not devices: TrueNAS allows each file in one drive of a VM, so a repeated insert cannot create a second drive,
// and a drive whose file is not in the record was attached by a user and stays. An eject deletes the drive before it changes
// the record: after a crash between the two steps, the record names a file without a drive, never the reverse.
package media

import (
	"net/url"
	"slices"
)

// ISO is an image on the NAS. The zero ISO is an empty drive.
type ISO struct {
	Path   string // the path of the file on the NAS, such as /mnt/tank/iso/debian.iso
	Source string // the URL of its origin; empty if it may contain a secret, and for a file that was on the NAS
}

// Name returns the ISO's name for callers: its source if known.
func (i ISO) Name() string {
	if i.Source != "" {
		return i.Source
	}
	return i.Path
}

// Record lists the file in the drive, and files that were ejected while the VM ran. TrueNAS cannot delete a device of a
// running VM, so those drives are removed before the next start.
type Record struct {
	ISO
	Ejected []string // the ejected files

	// Left is true if the last change of the record was a start that removed ejected drives. A process that died at the end of that
	// start has left its lock behind, which no other data shows.
	Left bool
}

// Parse reads the output of [Record.String]. Any other text is the zero Record.
func Parse(text string) Record {
	values, err := url.ParseQuery(text)
	if err != nil {
		return Record{}
	}
	return Record{ISO: ISO{values.Get("path"), values.Get("source")}, Ejected: values["ejected"], Left: values.Has("left")}
}

// String is empty for the zero Record.
func (r Record) String() string {
	values := url.Values{}
	if r.Path != "" {
		values.Set("path", r.Path)
	}
	if r.Source != "" {
		values.Set("source", r.Source)
	}
	if len(r.Ejected) > 0 {
		values["ejected"] = r.Ejected
	}
	if r.Left {
		values.Set("left", "1")
	}
	return values.Encode()
}

// Holds reports whether the record has a drive with this file, including a drive to remove before the next start.
func (r Record) Holds(file string) bool { return file != "" && (file == r.Path || r.Leaves(file)) }

// Leaves reports whether the drive with a file is to be removed before the next start.
func (r Record) Leaves(file string) bool { return slices.Contains(r.Ejected, file) }

// Others returns the other files of the record, whose drives have to be removed.
func (r Record) Others(file string) []string {
	all := slices.Clone(r.Ejected)
	if r.Path != "" {
		all = append(all, r.Path)
	}
	return slices.DeleteFunc(all, func(f string) bool { return f == file })
}

// Start returns the record after the removal of ejected drives before a start.
func (r Record) Start() Record { return Record{ISO: r.ISO, Left: true} }

// Put returns the record after a change to an ISO, or to an empty drive, while the drives with the files in staying cannot be
// deleted.
func (r Record) Put(iso ISO, staying []string) Record {
	next := Record{ISO: iso}
	for _, file := range r.Others(iso.Path) {
		if slices.Contains(staying, file) && !slices.Contains(next.Ejected, file) {
			next.Ejected = append(next.Ejected, file)
		}
	}
	return next
}
