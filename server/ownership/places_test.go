package ownership

import (
	"maps"
	"reflect"
	"strings"
	"testing"

	"go.uber.org/zap"

	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// web is the mark of the VM that the tests of this package are about.
var web = spec.Mark{Provider: "p", Owner: "uid-1", Namespace: "team", Name: "web-1"}

const (
	home  = "tank/virtrigaud/vms/teamZZweb_1"
	place = "flash/virtrigaud/vms/teamZZweb_1"
)

// newMarks returns marks that have read no dataset, and make no calls.
func newMarks() *Marks {
	layout := spec.Layout{Dataset: "tank/virtrigaud"}
	return NewMarks(nil, "p", layout, NewClaims(nil, "p", Installation{ID: "own"}, layout, nil, zap.NewNop()))
}

// with is a copy of properties with one changed; an empty value removes it.
func with(props map[string]string, key, value string) map[string]string {
	changed := maps.Clone(props)
	if changed[key] = value; value == "" {
		delete(changed, key)
	}
	return changed
}

// TestCheckPlace: additional disks go only into a dataset that was made for them, on a pool that is there, unlocked and not used by
// another installation.
func TestCheckPlace(t *testing.T) {
	props := with(web.Properties(place), spec.PropHome, home)
	there := func(props map[string]string, change func(*truenas.Dataset)) map[string]truenas.Dataset {
		d := truenas.Dataset{ID: place, Type: truenas.Filesystem, LocalUserProperties: props}
		if change != nil {
			change(&d)
		}
		return map[string]truenas.Dataset{"flash": {ID: "flash"}, place: d}
	}
	other := web
	other.Name = "web-2"
	for _, tt := range []struct {
		name    string
		read    map[string]truenas.Dataset
		foreign bool
		exists  bool
		refused func(format string, args ...any) error // nil: accepted
		says    string
	}{
		{"a pool that is away", map[string]truenas.Dataset{}, false, false, refusal.FailedPrecondition, `no pool "flash"`},
		{"no dataset yet", map[string]truenas.Dataset{"flash": {ID: "flash"}}, false, false, nil, ""},
		{"its dataset", there(props, nil), false, true, nil, ""},
		{"a dataset without marks", there(nil, nil), false, false, refusal.AlreadyExists, "not made by this provider"},
		{"another provider's", there(with(props, spec.PropProvider, "q"), nil), false, false, refusal.AlreadyExists, "not made by this provider"},
		{"another owner's", there(with(props, spec.PropOwner, "uid-2"), nil), false, false, refusal.AlreadyExists, "not made by this provider"},
		{"another VM's", there(with(other.Properties(place), spec.PropHome, home), nil), false, false, refusal.AlreadyExists, "not made by this provider"},
		{"of another home", there(with(props, spec.PropHome, home+"2"), nil), false, false, refusal.AlreadyExists, "not made by this provider"},
		{"a home", there(with(props, spec.PropHome, ""), nil), false, false, refusal.AlreadyExists, "not made by this provider"},
		{"a replica", there(with(props, spec.PropDataset, place+"2"), nil), false, false, refusal.AlreadyExists, "not made by this provider"},
		{"a volume", there(props, func(d *truenas.Dataset) { d.Type = truenas.Volume }), false, false, refusal.AlreadyExists, "not made by this provider"},
		{"another installation's tree", there(props, nil), true, false, refusal.FailedPrecondition, "belongs to another installation"},
		{"locked", there(props, func(d *truenas.Dataset) { d.Locked = true }), false, false, refusal.FailedPrecondition, place + " is encrypted and locked"},
		{"on a locked pool", map[string]truenas.Dataset{"flash": {ID: "flash", Locked: true}}, false, false, refusal.FailedPrecondition, "flash is encrypted and locked"},
		{"in a locked tree", map[string]truenas.Dataset{"flash": {ID: "flash"}, "flash/virtrigaud": {ID: "flash/virtrigaud", Locked: true}}, false, false, refusal.FailedPrecondition, "flash/virtrigaud is encrypted and locked"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newMarks()
			if tt.foreign {
				k.claims.set("flash/virtrigaud", rootState{foreign: ErrForeign})
			}
			exists, err := k.CheckPlace("disks_json[0]", home, place, web, tt.read)
			if exists != tt.exists || (err == nil) != (tt.refused == nil) {
				t.Fatalf("got %t, %v", exists, err)
			}
			if err != nil && (!strings.Contains(err.Error(), tt.says) || !reflect.DeepEqual(err, tt.refused("%s", err))) {
				t.Errorf("got %#v, want %q", err, tt.says)
			}
		})
	}
}

// TestEncrypted: a new dataset inherits the encryption of the nearest dataset at or above it.
func TestEncrypted(t *testing.T) {
	on := func(id string) truenas.Dataset { return truenas.Dataset{ID: id, Encrypted: true} }
	off := func(id string) truenas.Dataset { return truenas.Dataset{ID: id} }
	k := newMarks()
	for _, tt := range []struct {
		read      []truenas.Dataset
		nearest   string
		encrypted bool
	}{
		{[]truenas.Dataset{off("flash"), on("flash/virtrigaud"), off(place)}, place, false},
		{[]truenas.Dataset{off("flash"), on("flash/virtrigaud")}, "flash/virtrigaud", true},
		{[]truenas.Dataset{on("flash"), off("flash/virtrigaud")}, "flash/virtrigaud", false},
		{[]truenas.Dataset{on("flash")}, "flash", true},
		{nil, place, false},
	} {
		read := map[string]truenas.Dataset{}
		for _, d := range tt.read {
			read[d.ID] = d
		}
		if nearest, encrypted := k.Encrypted(place, read); nearest != tt.nearest || encrypted != tt.encrypted {
			t.Errorf("%v: got %s, %t", tt.read, nearest, encrypted)
		}
	}
}

// TestHomesFirst keeps the order of the datasets on other pools.
func TestHomesFirst(t *testing.T) {
	beside := func(id string) truenas.Dataset {
		return truenas.Dataset{ID: id, LocalUserProperties: map[string]string{spec.PropHome: home}}
	}
	var ids []string
	for _, d := range HomesFirst([]truenas.Dataset{beside("b"), beside("a"), {ID: "home"}, beside("c")}) {
		ids = append(ids, d.ID)
	}
	if got := strings.Join(ids, " "); got != "home b a c" {
		t.Errorf("got %s", got)
	}
}
