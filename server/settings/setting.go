package settings

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/agnivade/levenshtein"
)

// Prefix is the prefix of each setting's key in ExtraConfig.
const Prefix = "truenas.io/"

// Kind is the form of a value.
type Kind string

// The kinds of values. In ExtraConfig each of them is text.
const (
	Text   Kind = "text"
	Choice Kind = "choice" // one of Setting.Allowed
	Number Kind = "number" // from Setting.Min to Setting.Max
	Switch Kind = "switch" // true or false
	List   Kind = "list"   // texts, separated by commas
)

// Change is the time at which a setting of an existing VM can change.
type Change string

// The values of Change, as Reconfigure handles them.
const (
	NextStart Change = "at the next start"
	Always    Change = "at any time"
	Never     Change = "never"                    // a change is refused
	Once      Change = "only when the VM is made" // Create reads it, Reconfigure does not
)

// Release is a release of TrueNAS: 25.10 is {25, 10, 0}.
type Release [3]int

// Oldest is the first release with the API for VMs; a setting without Since works there.
var Oldest = Release{25, 4, 2}

// String returns the release in TrueNAS's form.
func (r Release) String() string {
	switch {
	case r[0] >= 26:
		return strconv.Itoa(r[0])
	case r[2] > 0:
		return fmt.Sprintf("%d.%02d.%d", r[0], r[1], r[2])
	}
	return fmt.Sprintf("%d.%02d", r[0], r[1])
}

// Before reports whether r is older.
func (r Release) Before(other Release) bool { return slices.Compare(r[:], other[:]) < 0 }

// Setting is a row of the table.
type Setting struct {
	Name     string // without the prefix; see [Setting.Key]
	Group    string // a heading of the documentation
	Title    string // the title in a form
	About    string // a sentence for users
	Kind     Kind
	Allowed  []string           // the values of a choice
	Min, Max int64              // the bounds of a number
	Unit     string             // the unit of a number
	Since    Release            // zero: the oldest release
	Newer    map[string]Release // values of a choice that need a newer release than the setting
	Default  string             // the value of a VM without the setting
	NAS      string             // the fields on the NAS, by the names of TrueNAS's API
	Change   Change

	ClassOnly bool // not for machines of Omni, which all run Talos

	check func(value string) string // the reason to refuse a text or an entry of a list, or ""

	secret bool                // a value may contain a secret, so errors omit it
	of     func(*Values) any   // the field of a setting of the VM: *string, *int64, **bool or *[]string
	disk   func(*Disk) *string // the field of a setting of disks
}

// Key returns the setting's key in ExtraConfig.
func (s Setting) Key() string { return Prefix + s.Name }

// OfDisk reports whether the setting applies to disks.
func (s Setting) OfDisk() bool { return s.disk != nil }

// Short returns the name of a disk setting in the context of a disk: bus for disk_bus.
func (s Setting) Short() string { return strings.TrimPrefix(s.Name, "disk_") }

// Error is the refusal of a setting.
type Error struct {
	Key    string
	Reason string
}

func (e *Error) Error() string { return e.Key + ": " + e.Reason }

func refuse(key, format string, args ...any) *Error {
	return &Error{Key: key, Reason: fmt.Sprintf(format, args...)}
}

// named finds a row of the table.
func named(name string) (Setting, bool) {
	table := Table()
	i := slices.IndexFunc(table, func(s Setting) bool { return s.Name == name })
	if i < 0 {
		return Setting{}, false
	}
	return table[i], true
}

// Names lists the settings in the order of the table.
func Names() []string {
	var names []string
	for _, s := range Table() {
		names = append(names, s.Name)
	}
	return names
}

// nearest returns the setting with the most similar name, at most three letters away from a misspelt one, or "".
func nearest(name string) string {
	best, least := "", 4
	if len(name) > 64 {
		return ""
	}
	for _, known := range Names() {
		if d := levenshtein.ComputeDistance(strings.ToLower(name), known); d < least {
			best, least = known, d
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + Prefix + best + "?"
}
