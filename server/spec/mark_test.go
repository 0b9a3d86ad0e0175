package spec

import (
	"reflect"
	"testing"

	"github.com/google/uuid"
)

func TestMachineIDIsDerived(t *testing.T) {
	id := VMID("p", "uid-1", "", "web1")
	if id != VMID("p", "uid-1", "", "web1") {
		t.Error("the same Create gives two ids")
	}
	parsed, err := uuid.Parse(id)
	if err != nil || parsed.Version() != 4 || parsed.Variant() != uuid.RFC4122 {
		t.Errorf("%s is not a UUID of version 4", id)
	}
	for _, other := range []string{VMID("q", "uid-1", "", "web1"), VMID("p", "uid-2", "", "web1"), VMID("p", "", "", "web1"), VMID("p", "", "", "uid-1")} {
		if other == id {
			t.Errorf("another provider, owner or name gives the same id %s", id)
		}
	}
	if VMID("p", "", "", "web1") == VMID("p", "", "", "web2") {
		t.Error("two names without owners give the same id")
	}
}

func TestMarkSurvivesTheDescription(t *testing.T) {
	for _, m := range []Mark{
		{Provider: "ns.truenas", Name: "web-1"},
		{Provider: "p", Owner: "0c6e", Name: "a b]&=", Tags: []string{"x", "y]z"}},
		{Provider: "p [virtrigaud:x]", Name: "[virtrigaud:provider=q]"},
	} {
		got, ok := ParseMark(m.Describe())
		if !ok || !reflect.DeepEqual(got, m) {
			t.Errorf("%+v reads back as %+v, %t, from %q", m, got, ok, m.Describe())
		}
	}
	for _, text := range []string{"", "my own VM", "x [virtrigaud:", "x [virtrigaud:provider=%zz]", "x [virtrigaud:name=a]"} {
		if m, ok := ParseMark(text); ok {
			t.Errorf("%q is parsed as %+v", text, m)
		}
	}
}
