package settings_test

import (
	"errors"
	"flag"
	"os"
	"strings"
	"testing"

	"virtrigaud-provider-truenas/server/settings"
)

var update = flag.Bool("update", false, "write the table of settings into the documentation")

func parse(t *testing.T, pairs ...string) (settings.Values, error) {
	t.Helper()
	extra := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		extra[pairs[i]] = pairs[i+1]
	}
	return settings.Parse(extra)
}

func TestParseRefusesByKey(t *testing.T) {
	const p = settings.Prefix
	for _, tt := range []struct {
		name  string
		pairs []string
		want  string
	}{
		{"an unknown key", []string{p + "cpu_mod", "custom"}, p + "cpu_mod: not a setting of this provider; did you mean truenas.io/cpu_mode?"},
		{"an unknown key like no other", []string{p + "colour_of_the_case", "red"}, p + "colour_of_the_case: not a setting of this provider"},
		{"a choice that does not exist", []string{p + "cpu_mode", "fast"}, p + `cpu_mode: "fast"; allowed are host-passthrough, host-model, custom`},
		{"a number beyond its limit", []string{p + "cpu_sockets", "256"}, p + `cpu_sockets: "256"; allowed are whole numbers from 1 to 255`},
		{"the prefix in capitals", []string{"TrueNAS.io/cpu_mode", "custom"}, "TrueNAS.io/cpu_mode: the keys of settings begin with truenas.io/, in lower case"},
		{"no device and a device", []string{p + "pci", "pci_0000_01_00_0, none"}, p + `pci: "pci_0000_01_00_0, none": none must be the only entry`},
		{"a number that is none", []string{p + "cpu_cores", "2.5"}, p + "cpu_cores: "},
		{"a switch that is none", []string{p + "pin_vcpus", "maybe"}, p + `pin_vcpus: "maybe"; allowed are true and false`},
		{"a set that is none", []string{p + "cpuset", "0-3;8"}, p + "cpuset: "},
		{"a range backwards", []string{p + "cpuset", "3-0"}, p + "cpuset: "},
		{"a range to itself", []string{p + "nodeset", "1-1"}, p + "nodeset: "},
		{"a model without its mode", []string{p + "cpu_model", "EPYC"}, p + "cpu_model: needs truenas.io/cpu_mode custom"},
		{"a mode without its model", []string{p + "cpu_mode", "custom"}, p + "cpu_mode: custom needs truenas.io/cpu_model"},
		{"pinning to nothing", []string{p + "pin_vcpus", "true"}, p + "pin_vcpus: needs truenas.io/cpuset"},
		{"a disk of a setting that is not of disks", []string{p + "cpu_mode.data", "custom"}, p + "cpu_mode.data: "},
		{"a CD-ROM that is not an ISO", []string{p + "cdrom", "/mnt/tank/disk.raw"}, p + "cdrom: "},
		{"a name with markup", []string{p + "machine_type", "<q35>"}, p + "machine_type: "},
		{"a value without end", []string{p + "cpuset", strings.Repeat("1,", 600) + "1"}, p + "cpuset: has 1201 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parse(t, tt.pairs...)
			var refused *settings.Error
			if !errors.As(err, &refused) || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// Keys of other hypervisors and empty values request nothing.
func TestParseIgnoresForeignKeys(t *testing.T) {
	v, err := parse(t, "vmware.com/cpu_mode", "fast", "cpu_mode", "fast", "truenas.io", "x", settings.Prefix+"cpu_mode", "")
	if err != nil || v.CPUMode != "" || v.Given("cpu_mode") {
		t.Errorf("got %+v, %v", v, err)
	}
}

func TestOperatingSystemChoosesDefaults(t *testing.T) {
	const p = settings.Prefix
	v, err := parse(t, p+"os", "Windows")
	if err != nil || v.Clock != settings.ClockLocal || v.HyperV == nil || !*v.HyperV {
		t.Errorf("windows: got %+v, %v", v, err)
	}
	v, err = parse(t, p+"os", "windows", p+"clock", "utc", p+"hyperv_enlightenments", "false")
	if err != nil || v.Clock != settings.ClockUTC || *v.HyperV {
		t.Errorf("a given setting overrides the default: got %+v, %v", v, err)
	}
	if v, err = parse(t, p+"os", "linux"); err != nil || v.Clock != "" || v.HyperV != nil {
		t.Errorf("linux: got %+v, %v", v, err)
	}
}

func TestTopology(t *testing.T) {
	const p = settings.Prefix
	for _, tt := range []struct {
		cpus  int64
		pairs []string
		want  settings.Topology // zero: refused
	}{
		{4, nil, settings.Topology{Sockets: 1, Cores: 4, Threads: 1}},
		{4, []string{p + "cpu_sockets", "2"}, settings.Topology{Sockets: 2, Cores: 2, Threads: 1}},
		{8, []string{p + "cpu_threads", "2"}, settings.Topology{Sockets: 1, Cores: 4, Threads: 2}},
		{8, []string{p + "cpu_cores", "2", p + "cpu_threads", "2"}, settings.Topology{Sockets: 2, Cores: 2, Threads: 2}},
		{8, []string{p + "cpu_cores", "8"}, settings.Topology{Sockets: 1, Cores: 8, Threads: 1}},
		{3, []string{p + "cpu_threads", "2"}, settings.Topology{}},
		{4, []string{p + "cpu_sockets", "8"}, settings.Topology{}},
		{4, []string{p + "cpu_sockets", "1", p + "cpu_cores", "2", p + "cpu_threads", "1"}, settings.Topology{}},
	} {
		v, err := parse(t, tt.pairs...)
		if err != nil {
			t.Fatal(err)
		}
		if err = v.FitCPUs(tt.cpus); (err == nil) != (tt.want != settings.Topology{}) {
			t.Errorf("%d CPUs, %q: got %v", tt.cpus, tt.pairs, err)
		}
		if got, _ := v.Topology(tt.cpus); err == nil && got != tt.want {
			t.Errorf("%d CPUs, %q: got %v, want %v", tt.cpus, tt.pairs, got, tt.want)
		}
	}
}

func TestPinnedCPUsAreCounted(t *testing.T) {
	v, err := parse(t, settings.Prefix+"cpuset", "0-2,2,8", settings.Prefix+"pin_vcpus", "true")
	if err != nil {
		t.Fatal(err)
	}
	if err := v.FitCPUs(4); err != nil {
		t.Errorf("4 CPUs on 0, 1, 2 and 8: %v", err)
	}
	if err := v.FitCPUs(5); err == nil {
		t.Error("5 CPUs were pinned to 4")
	}
}

// TestRowsAreComplete checks that each row has all texts.
func TestRowsAreComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range settings.Table() {
		if s.Group == "" || s.Title == "" || s.About == "" || s.Default == "" || s.NAS == "" || s.Change == "" || s.Kind == "" {
			t.Errorf("%s: the row lacks something: %+v", s.Name, s)
		}
		if (s.Kind == settings.Choice) != (len(s.Allowed) > 0) || (s.Kind == settings.Number) != (s.Max > 0) {
			t.Errorf("%s: a choice has values and a number has limits", s.Name)
		}
		if seen[s.Name] || strings.Contains(s.Name, ".") {
			t.Errorf("%s: the name is taken, or has a dot", s.Name)
		}
		seen[s.Name] = true
	}
}

// TestDocumentationNamesTheSettingsOfClassesOnly compares the sentence about Omni with the table.
func TestDocumentationNamesTheSettingsOfClassesOnly(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "It does not have ")
	if !found {
		t.Fatalf("%s does not name the settings that Omni lacks", page)
	}
	sentence, _, _ := strings.Cut(rest, ".")
	for _, s := range settings.Table() {
		if named := strings.Contains(sentence, "`"+s.Name+"`"); named != s.ClassOnly {
			t.Errorf("%s: named among the settings that Omni does not have: %v, want %v", s.Name, named, s.ClassOnly)
		}
	}
}

const (
	page  = "../../deploy/docs/hardware-settings.md"
	begin = "<!-- The tables are generated: go test ./server/settings -update -->\n"
	end   = "<!-- End of the tables. -->\n"
)

// TestDocumentationHasTheTable compares the page with the table.
func TestDocumentationHasTheTable(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(text), begin)
	table, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no markers for the tables", page)
	}
	want := "\n" + settings.Markdown() + "\n"
	if *update {
		if err := os.WriteFile(page, []byte(before+begin+want+end+after), 0o600); err != nil {
			t.Fatal(err)
		}
	} else if table != want {
		t.Errorf("%s differs from the table; run go test ./server/settings -update", page)
	}
}
