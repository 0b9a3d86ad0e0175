package truenas

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A Release is a line of TrueNAS releases with one set of methods and models. The zero value means
// unknown. Releases compare with ==.
type Release struct{ major, minor, patch int }

// The supported releases.
var (
	R25_04_2 = Release{25, 4, 2} // the first with JSON-RPC and VMs
	R25_10   = Release{25, 10, 0}
	R26      = Release{26, 0, 0}
	R27      = Release{27, 0, 0}
)

func (r Release) String() string {
	switch {
	case r.IsZero():
		return "unknown"
	case r.major >= 26:
		return strconv.Itoa(r.major)
	case r.patch > 0:
		return fmt.Sprintf("%d.%02d.%d", r.major, r.minor, r.patch)
	}
	return fmt.Sprintf("%d.%02d", r.major, r.minor)
}

// IsZero reports whether no release is known.
func (r Release) IsZero() bool { return r == Release{} }

// AtLeast reports whether r is other or newer.
func (r Release) AtLeast(other Release) bool { return r.compare(other) >= 0 }

func (r Release) compare(o Release) int {
	return cmp.Or(cmp.Compare(r.major, o.major), cmp.Compare(r.minor, o.minor), cmp.Compare(r.patch, o.patch))
}

// lineOf returns the known release to which an exact API version belongs.
func lineOf(v Release) (Release, bool) {
	switch {
	case v.major == 25 && v.minor == 4 && v.patch >= 2:
		return R25_04_2, true
	case v.major == 25 && v.minor == 10:
		return R25_10, true
	case v.major == 26:
		return R26, true
	case v.major == 27:
		return R27, true
	}
	return Release{}, false
}

// An apiVersion is an exact version offered by a NAS, such as v25.10.1.
type apiVersion struct {
	name    string
	version Release
}

func parseVersion(name string) (apiVersion, error) {
	var v [3]int
	parts := strings.Split(strings.TrimPrefix(name, "v"), ".")
	if !strings.HasPrefix(name, "v") || len(parts) > len(v) {
		return apiVersion{}, fmt.Errorf("API version %q: unknown format", name)
	}
	for i, part := range parts {
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 {
			return apiVersion{}, fmt.Errorf("API version %q: unknown format", name)
		}
		v[i] = n
	}
	return apiVersion{name, Release{v[0], v[1], v[2]}}, nil
}

// choice is the outcome of a negotiation.
type choice struct {
	path    string  // "/api/v25.10.1"
	release Release // its release
	newer   string  // the newest version of the NAS, if this package does not know it
}

// choose returns the newest version that both sides support. The client pins it, since /api/current
// changes at every upgrade of the NAS.
func choose(offered []string) (choice, error) {
	var best, newest apiVersion
	for _, name := range offered {
		v, err := parseVersion(name)
		if err != nil {
			continue // skip names in the format of a later release
		}
		if v.version.compare(newest.version) > 0 {
			newest = v
		}
		if _, ok := lineOf(v.version); ok && v.version.compare(best.version) > 0 {
			best = v
		}
	}
	if best.name == "" {
		return choice{}, unsupportedRelease(newest)
	}
	line, _ := lineOf(best.version)
	c := choice{path: "/api/" + best.name, release: line}
	if newest.version.major > R27.major {
		c.newer = newest.name
	}
	return c, nil
}

func unsupportedRelease(newest apiVersion) error {
	switch {
	case newest.name == "":
		return &Error{Reason: "the NAS offers no supported API version; TrueNAS 25.04.2 to 27 is required", kind: ErrUnsupported}
	case newest.version.AtLeast(R27):
		return &Error{Reason: "the NAS offers only " + newest.name + ", which is newer than this program supports (25.04.2 to 27)", kind: ErrUnsupported}
	}
	return &Error{
		Reason: "the NAS runs " + newest.name + ", which has no API for virtual machines; upgrade it to TrueNAS 25.04.2 or later",
		kind:   ErrUnsupported,
	}
}

// needs returns an error if the release lacks a method, before anything is sent.
func (r Release) needs(method string, from, until Release) error {
	if r.AtLeast(from) && (until.IsZero() || until.AtLeast(r)) {
		return nil
	}
	return &Error{Method: method, Reason: "TrueNAS " + r.String() + " does not have this method", kind: ErrUnsupported}
}

var errNoJSONRPC = errors.New("no JSON-RPC API here: TrueNAS 24.10 and older do not have it; 25.04.2 or later is required")
