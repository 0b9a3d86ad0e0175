package media

import (
	"reflect"
	"slices"
	"testing"
)

var (
	debian = ISO{"/mnt/tank/iso/debian.iso", ""}
	talos  = ISO{"/mnt/tank/v/images/k/disk/image.iso", "https://example.com/talos.iso"}
)

func TestRecordIsReadBack(t *testing.T) {
	for _, r := range []Record{
		{}, {ISO: debian}, {ISO: talos}, {Ejected: []string{debian.Path}}, {ISO: talos, Ejected: []string{debian.Path, "/mnt/tank/a b&c=].iso"}}, {ISO: talos, Left: true}, {Left: true},
	} {
		if got := Parse(r.String()); !reflect.DeepEqual(got, r) {
			t.Errorf("%+v is read back as %+v", r, got)
		}
	}
	for _, text := range []string{"", "%zz", "a;b"} {
		if r := Parse(text); !reflect.DeepEqual(r, Record{}) {
			t.Errorf("%q is read as %+v", text, r)
		}
	}
}

func TestName(t *testing.T) {
	if debian.Name() != debian.Path || talos.Name() != talos.Source || (ISO{}).Name() != "" {
		t.Errorf("%q %q %q", debian.Name(), talos.Name(), ISO{}.Name())
	}
}

func TestPut(t *testing.T) {
	for _, tt := range []struct {
		name    string
		from    Record
		iso     ISO
		staying []string
		want    Record
	}{
		{"insert", Record{}, talos, nil, Record{ISO: talos}},
		{"insert again", Record{ISO: talos}, talos, []string{talos.Path}, Record{ISO: talos}},
		{"eject", Record{ISO: talos}, ISO{}, nil, Record{}},
		{"eject while the VM runs", Record{ISO: talos}, ISO{}, []string{talos.Path}, Record{Ejected: []string{talos.Path}}},
		{"eject again", Record{Ejected: []string{talos.Path}}, ISO{}, []string{talos.Path}, Record{Ejected: []string{talos.Path}}},
		{"insert what was ejected", Record{Ejected: []string{talos.Path}}, talos, []string{talos.Path}, Record{ISO: talos}},
		{"insert another while the VM runs", Record{ISO: talos}, debian, []string{talos.Path}, Record{ISO: debian, Ejected: []string{talos.Path}}},
		{"and back", Record{ISO: debian, Ejected: []string{talos.Path}}, talos, []string{talos.Path, debian.Path}, Record{ISO: talos, Ejected: []string{debian.Path}}},
		{"insert after the start", Record{Ejected: []string{debian.Path}}.Start(), talos, nil, Record{ISO: talos}},
		{"insert another", Record{ISO: talos}, debian, nil, Record{ISO: debian}},
	} {
		if got := tt.from.Put(tt.iso, tt.staying); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestHolds(t *testing.T) {
	r := Record{ISO: talos, Ejected: []string{debian.Path}}
	if !r.Holds(talos.Path) || !r.Holds(debian.Path) || r.Holds("/mnt/tank/mine.iso") || r.Holds("") || (Record{}).Holds("") {
		t.Error("the record names other drives")
	}
	if r.Leaves(talos.Path) || !r.Leaves(debian.Path) {
		t.Error("the wrong drive leaves")
	}
	if got := r.Others(talos.Path); !slices.Equal(got, []string{debian.Path}) {
		t.Errorf("besides: %q", got)
	}
}
