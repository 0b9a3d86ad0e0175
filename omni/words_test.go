package omni

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestRefusalsNameSettingsOfTheClass checks that refusals of a NAS name the settings of the machine class.
func TestRefusalsNameSettingsOfTheClass(t *testing.T) {
	client, nas := onNAS(t, "25.10", nil)
	w := newWorld(t, Backend{Name: "nas", Client: client})
	_, stop := w.start()
	for _, tt := range []struct{ name, class, want string }{
		{"no-bridge", class + "network_bridge: br9\n", "network"},
		{"no-pool", strings.Replace(class, "tank", "fast", 1), "storage_pool: the NAS has no pool \"fast\""},
		{"no-bridge-of-a-second-card", class + "additional_nics: [{network_bridge: br9}]\n", "additional_nics[0].network_bridge"},
		{"no-vlan", class + "vlan: 77\n", "vlan"},
		{"no-gateway", class + "ip_addresses: [192.0.2.10]\nip_prefix: 32\nip_gateway: 127.0.0.1\n", "ip_gateway"},
	} {
		w.request(tt.name, tt.class)
		said := w.failed(tt.name, "nas cannot create this machine").GetError()
		if !strings.Contains(said, tt.want) || strings.Contains(said, "_json") {
			t.Errorf("%s: %s", tt.name, said)
		}
		w.release(tt.name)
	}
	if left := leftovers(nas); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	stop()
}

func TestEveryCodeIsReported(t *testing.T) {
	b := &backend{name: "nas"}
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		text, final := userText(from(b, status.Error(code, "because")))
		if !strings.Contains(text, "nas") || !strings.Contains(text, "because") || strings.Contains(text, "%!") {
			t.Errorf("%v: %s", code, text)
		}
		temporary := code == codes.Unavailable || code == codes.DeadlineExceeded || code == codes.Aborted || code == codes.Internal || code == codes.Unknown || code == codes.Canceled || code == codes.ResourceExhausted
		if temporary && final {
			t.Errorf("%v is temporary, but is reported as final", code)
		}
	}
}

func TestImageFactoryIsDown(t *testing.T) {
	client, _ := onNAS(t, "25.10", nil)
	w := newWorld(t, Backend{Name: "nas", Client: client})
	w.factory.SetDown(true)
	_, stop := w.start()
	w.request("one", class)
	w.failed("one", "creation of the schematic at the image factory failed")
	w.factory.SetDown(false)
	w.provisioned("one")
	stop()
}

// The factory does not serve the image, so the backend cannot prepare it. Every request for it reports the reason.
func TestMissingImage(t *testing.T) {
	client, _ := onNAS(t, "25.10", nil)
	w := newWorld(t, Backend{Name: "nas", Client: client})
	w.cfg.FactoryURL = w.url + "/nothing"
	_, stop := w.start()
	w.request("one", class)
	w.request("two", class)
	w.failed("one", "404")
	w.failed("two", "404")
	w.release("one")
	w.release("two")
	stop()
}

func TestClassTerms(t *testing.T) {
	for said, want := range map[string]string{
		"class_json.MemoryMiB: 9; allowed are":   "memory: 9; allowed are",
		"networks_json[0].StaticIP: no":          "ip_addresses: no",
		"networks_json[0]: names two":            "the first network card: names two",
		"networks_json[12].VLAN: no":             "additional_nics[11].vlan: no",
		"networks_json[2]: names two":            "additional_nics[1]: names two",
		"disks_json[3].SizeGiB: 0":               "additional_disks[3].size: 0",
		"disks_json: 99 disks":                   "additional_disks: 99 disks",
		"image_json.Path: tank/x is not there":   "the image: tank/x is not there",
		"placement_json.Datastore: no such pool": "storage_pool: no such pool",
		"something else":                         "something else",
		"class_json.ExtraConfig.truenas.io/disk_block_size.data: no, for data has one":                         "additional_disks[data].block_size: no, for data has one",
		"class_json.ExtraConfig.truenas.io/disk_physical_sector_size.a-b.c: needs truenas.io/disk_sector_size": "additional_disks[a-b.c].physical_sector_size: needs disk_sector_size",
	} {
		if got := classTerms(said); got != want {
			t.Errorf("%q becomes %q, want %q", said, got, want)
		}
	}
}
