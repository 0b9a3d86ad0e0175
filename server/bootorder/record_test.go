package bootorder

import "testing"

func TestRecordIsReadBack(t *testing.T) {
	for _, always := range []string{"", Network, CDROM} {
		for _, once := range []string{"", Disk, Network, CDROM} {
			for _, fired := range []string{"", "17", Unproven} {
				if r := (Record{always, once, fired}); Parse(r.String()) != r {
					t.Errorf("%+v is read back as %+v", r, Parse(r.String()))
				}
			}
		}
	}
	for _, text := range []string{"", "network", "floppy//", "/floppy/", "network/disk/1/2"} {
		if r := Parse(text); r != (Record{}) {
			t.Errorf("%q is read as %+v", text, r)
		}
	}
}

func TestAsk(t *testing.T) {
	for _, tt := range []struct {
		name         string
		from         Record
		always, once string
		want         Record
		first, rest  string
	}{
		{"nothing", Record{Network, Disk, ""}, "", "", Record{Network, Disk, ""}, Disk, Network},
		{"always", Record{}, Network, "", Record{Network, "", ""}, Network, Network},
		{"the disk again", Record{Network, "", ""}, Disk, "", Record{}, Disk, Disk},
		{"once", Record{}, "", Network, Record{"", Network, ""}, Network, Disk},
		{"a once that was fired before", Record{"", Network, "1"}, "", Network, Record{"", Network, ""}, Network, Disk},
		{"no once", Record{CDROM, Network, "1"}, "", None, Record{CDROM, "", ""}, CDROM, CDROM},
		{"both", Record{}, CDROM, Disk, Record{CDROM, Disk, ""}, Disk, CDROM},
	} {
		got := tt.from.Ask(tt.always, tt.once)
		if got != tt.want || got.First() != tt.first || got.Rest() != tt.rest {
			t.Errorf("%s: %+v boots %s, then %s", tt.name, got, got.First(), got.Rest())
		}
	}
}

// A once is kept if its start was not reached, and is used up in every other case.
func TestResolve(t *testing.T) {
	armed := Record{CDROM, Network, ""}
	for _, tt := range []struct {
		name     string
		fired    string
		running  bool
		evidence string
		want     Record
	}{
		{"not fired, off", "", false, "1", armed},
		{"not fired, running", "", true, "1", armed},
		{"fired, off, nothing happened", "1", false, "1", armed},
		{"fired, off, started meanwhile", "1", false, "2", Record{Always: CDROM}},
		{"fired, running", "1", true, "2", Record{Always: CDROM}},
		{"fired, running, the log is late", "1", true, "1", Record{Always: CDROM}},
		{"no evidence then", Unproven, false, "1", Record{Always: CDROM}},
		{"no evidence now", "1", false, Unproven, Record{Always: CDROM}},
		{"no evidence at all", Unproven, false, Unproven, Record{Always: CDROM}},
	} {
		if got := armed.Fire(tt.fired).Resolve(tt.running, tt.evidence); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}
