package spec

import (
	"fmt"
	"regexp"
	"slices"
	"testing"
)

// TestPatterns: the filters by which datasets are found match those in the tree on every pool, and none beside it.
func TestPatterns(t *testing.T) {
	l := Layout{Dataset: "tank/virt.rigaud"}
	for name, tt := range map[string]struct {
		pattern string
		yes, no []string
	}{
		"VMs": {l.VMsPattern(), []string{"tank/virt.rigaud/vms/a", "flash/virt.rigaud/vms/a"},
			[]string{"tank/virt.rigaud/vms", "tank/virt.rigaud/vms/a/root", "tank/virtXrigaud/vms/a", "tank/x/virt.rigaud/vms/a", "tank/virt.rigaud/imports/a"}},
		"images": {l.ImagesPattern(), []string{"tank/virt.rigaud/images/k", "flash/virt.rigaud/images/k/disk"},
			[]string{"tank/virt.rigaud/images", "tank/virt.rigaud/images/k/other", "tank/virtXrigaud/images/k", "x/tank/virt.rigaud/images/k"}},
		"trees": {l.TreesPattern(), []string{"tank/virt.rigaud/vms/a", "flash/virt.rigaud/imports/a"},
			[]string{"tank/virt.rigaud/images/a", "tank/virt.rigaud/vms/a/root", "tank/virtXrigaud/vms/a"}},
		"locks": {l.HandOverPattern(), []string{"tank/virt.rigaud/staging/promote-a", "flash/virt.rigaud/staging/promote-a"},
			[]string{"tank/virt.rigaud/staging/promote-", "tank/virt.rigaud/staging/a", "tank/virtXrigaud/staging/promote-a", "tank/virt.rigaud/staging/promote-a/b"}},
		"roots": {l.RootsPattern(), []string{"tank/virt.rigaud", "flash/virt.rigaud"}, []string{"tank", "tank/virt.rigaud/vms", "tank/virtXrigaud", "tank/x/virt.rigaud"}},
		"homes": {l.HomesPattern("a", "b.c"), []string{"tank/virt.rigaud/vms/a", "flash/virt.rigaud/vms/b.c"}, []string{"tank/virt.rigaud/vms/bXc", "tank/virt.rigaud/vms/ab", "tank/virt.rigaud/vms/a/root"}},
	} {
		pattern := regexp.MustCompile(tt.pattern)
		for want, list := range map[bool][]string{true: tt.yes, false: tt.no} {
			for _, dataset := range list {
				if pattern.MatchString(dataset) != want {
					t.Errorf("%s: %s matches: %t", name, dataset, !want)
				}
			}
		}
	}
}

// TestPlacesInTheTree has a configured dataset at the second level, and one deeper.
func TestPlacesInTheTree(t *testing.T) {
	l, deep := Layout{Dataset: "tank/virtrigaud"}, Layout{Dataset: "tank/apps/vr"}
	for i, tt := range []struct{ got, want any }{
		{l.Pool(), "tank"}, {PoolOf("tank"), "tank"}, {l.Root(""), "tank/virtrigaud"}, {l.Root("tank"), "tank/virtrigaud"}, {l.Root("flash"), "flash/virtrigaud"}, {deep.Root("flash"), "flash/apps/vr"},
		{l.VMDataset("flash", "a"), "flash/virtrigaud/vms/a"},
		{l.DisksDataset("tank/virtrigaud/vms/a", ""), "tank/virtrigaud/vms/a"}, {l.DisksDataset("tank/virtrigaud/vms/a", "tank"), "tank/virtrigaud/vms/a"}, {l.DisksDataset("tank/virtrigaud/vms/a", "flash"), "flash/virtrigaud/vms/a"},
		{l.ImageStaging("flash/virtrigaud/images/k"), "flash/virtrigaud/staging/k"}, {l.HandOverClaim("flash/virtrigaud/vms/a"), "flash/virtrigaud/staging/promote-a"},
		{l.IsHandOverClaim("flash/virtrigaud/staging/promote-a"), true}, {l.IsHandOverClaim("flash/virtrigaud/staging/a"), false},
		{l.InVM("tank/virtrigaud/vms/a/root"), true}, {l.InVM("tank/virtrigaud/vms/a/root@s"), true}, {l.InVM("tank/virtrigaud/vms/a"), false}, {l.InVM("tank/old/root"), false},
		{InTree("a/b", "a"), true}, {InTree("a", "a"), true}, {InTree("ab", "a"), false}, {InTree("a", "a/b"), false},
		{ZvolPath("tank/my disk"), "/dev/zvol/tank/my+disk"}, {VolumeOf("/dev/zvol/tank/my+disk"), "tank/my disk"}, {VolumeOf("/mnt/tank/a.iso"), ""},
		{l.HoldsDatasets("flash/virtrigaud/vms"), true}, {l.HoldsDatasets("tank/virtrigaud/images"), true}, {l.HoldsDatasets("tank/virtrigaud/imports"), true}, {l.HoldsDatasets("tank/virtrigaud/staging"), true},
		{l.HoldsDatasets("tank/virtrigaud"), false}, {l.HoldsDatasets("tank/virtrigaud/vms/a"), false},
	} {
		if tt.got != tt.want {
			t.Errorf("%d: got %v, want %v", i, tt.got, tt.want)
		}
	}
	for volume, want := range map[string]string{
		"tank/virtrigaud/imports/a/disk": "tank/virtrigaud/imports/a", "flash/virtrigaud/imports/a/disk": "flash/virtrigaud/imports/a",
		"tank/virtrigaud/imports/a/other": "", "tank/virtrigaud/imports/disk": "", "tank/virtrigaud/vms/a/disk": "", "tank/virtrigaud/imports/a/b/disk": "",
	} {
		if got, ok := l.ImportOf(volume); got != want || ok != (want != "") {
			t.Errorf("%s: got %q, %t", volume, got, ok)
		}
	}
}

// TestRootVolume: the boot disk is the root disk that this provider made, or else the first disk that is not an additional one.
func TestRootVolume(t *testing.T) {
	l := Layout{Dataset: "tank/virtrigaud"}
	const vm = "tank/virtrigaud/vms/a/"
	for _, tt := range []struct {
		volumes []string
		want    string
	}{
		{[]string{vm + "data", vm + "root"}, vm + "root"},
		{[]string{"tank/old/root", vm + "root"}, vm + "root"},
		{[]string{vm + "data", "tank/virtrigaud/imports/a/disk"}, "tank/virtrigaud/imports/a/disk"},
		{[]string{vm + "data", vm + "logs"}, vm + "data"},
		{[]string{"tank/old/a", "tank/old/root"}, "tank/old/a"},
		{nil, ""},
	} {
		if got := l.RootVolume(tt.volumes); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.volumes, got, tt.want)
		}
	}
}

// TestPropertiesOfAMark: the dataset of a VM proves the VM by itself, unless a property is missing or contradicts the others.
func TestPropertiesOfAMark(t *testing.T) {
	for _, m := range []Mark{
		{Provider: "p", Name: "a"}, {Provider: "p", Name: "a", Owner: "uid-1"}, {Provider: "p", Name: "a", Owner: "uid-1", Namespace: "team"},
		{Provider: "p", Name: "a", Source: "id", Host: "h", Pool: "tank", Tags: []string{"x", "y"}},
	} {
		props := m.Properties("tank/virtrigaud/vms/a")
		got, ok := MarkIn(props)
		if !ok || got.ID() != m.ID() || got.Source != m.Source || got.Host != m.Host || got.Pool != m.Pool || !slices.Equal(got.Tags, m.Tags) || fmt.Sprint(got) != fmt.Sprint(m) {
			t.Errorf("%+v reads back as %+v, %t", m, got, ok)
		}
		if props[PropDataset] != "tank/virtrigaud/vms/a" {
			t.Errorf("the dataset is %q", props[PropDataset])
		}
		for _, key := range []string{PropProvider, PropName, PropVM} {
			changed := map[string]string{}
			for k, v := range props {
				changed[k] = v
			}
			delete(changed, key)
			if got, ok := MarkIn(changed); ok {
				t.Errorf("without %s: %+v", key, got)
			}
			changed[key] = "other"
			if got, ok := MarkIn(changed); ok && m.Owner == "" {
				t.Errorf("with another %s: %+v", key, got)
			}
		}
	}
	for value, want := range map[string][]string{"": nil, "flash": {"flash"}, "flash,rust": {"flash", "rust"}, ",flash,": {"flash"}} {
		if got := Pools(value); !slices.Equal(got, want) {
			t.Errorf("%q: got %q", value, got)
		}
	}
	if a, b := NICMAC("id", 0), NICMAC("id", 1); a == b || a != NICMAC("id", 0) || a == NICMAC("id2", 0) || !unicastMAC(a) || a[:3] != "02:" {
		t.Errorf("MAC addresses %s and %s", a, b)
	}
	bare, _ := ParseMark(MarkStart + "provider=p&name=a]")
	if bare.Provider != "p" || bare.Name != "a" {
		t.Errorf("a description that is a mark: %+v", bare)
	}
	for volume, want := range map[string]string{"tank/a/root-aside-1": "tank/a/root", "tank/a/root": ""} {
		if disk, ok := AsideOf(volume); ok != (want != "") || ok && disk != want {
			t.Errorf("%s: %q, %t", volume, disk, ok)
		}
	}
}
