//go:build e2e

package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/truenas/sim/qemu"
)

// hardware is a class with settings that a guest can observe: a CPU of another vendor, a topology of three different numbers, a
// root disk on AHCI beside a VirtIO one, and a CD-ROM in addition to the seed.
const hardware = `{"CPU":6,"MemoryMiB":512,"Firmware":"BIOS","DiskDefaults":{"Type":"thin","SizeGiB":1},"ExtraConfig":{
	"truenas.io/cpu_mode":"custom","truenas.io/cpu_model":"Nehalem",
	"truenas.io/cpu_sockets":"3","truenas.io/cpu_cores":"1","truenas.io/cpu_threads":"2",
	"truenas.io/disk_bus":"ahci","truenas.io/disk_bus.data":"virtio",
	"truenas.io/cdrom":"/mnt/tank/media/ipxe.iso"}}`

// TestHardware boots a guest with hardware settings, and compares them with the guest's report.
func TestHardware(t *testing.T) {
	log := newTimeline()
	home := newSite(t, log, "the NAS", "25.10", func(_ *qemu.Options, c *server.Config) { c.NASPaths = []string{"tank/media"} })
	home.put("ipxe.iso", "media")
	g := home.createHardware()
	g.on()
	g.await("hardware settings, the image is fetched first")
	g.holds("topology", "3 sockets 1 cores 2 threads")
	g.holds("cpus", "6")
	if model := g.report.one("cpu"); !strings.Contains(model, "Nehalem") {
		t.Errorf("its CPU is %q, want a Nehalem", model)
	}
	g.sees("disk", g.drives())
	g.sees("bus", []string{"sda ahci", "vda virtio_blk"})
	g.sees("cdrom", []string{"sr0 IPXE", "sr1 cidata"})
	if !slices.Contains(g.report["seed"], "user-data "+sumOf(webData)) {
		t.Errorf("its seed is %q", g.report["seed"])
	}
	log.say("%s: sees its CPUs, buses and CD-ROMs as they were set", g.name)
	g.findsBySerial()
	g.off()
	log.summary()
}

func (s *site) createHardware() *guest {
	s.t.Helper()
	image, err := s.rpc.ImagePrepare(s.t.Context(), &providerv1.ImagePrepareRequest{
		ImageJson:  `{"source":{"libvirt":{"url":` + quoted(images(s.t).URL+"/guest.qcow2.xz") + `}},"prepare":{"onMissing":"Import","timeout":"10m0s"}}`,
		TargetName: "guest",
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.finish(image.GetTask())
	return s.create(&providerv1.CreateRequest{
		Name: "hardware-1", ClassJson: hardware, UserData: []byte(webData), DisksJson: `[{"SizeGiB":2,"Type":"thin","Name":"data"}]`,
		NetworksJson: `[{"Name":"eth0","Bridge":"br0"}]`,
	}, image.GetPreparedImagePath())
}

// sees compares the guest's report with the expected values, in any order.
func (g *guest) sees(key string, want []string) {
	g.t.Helper()
	got := slices.Sorted(slices.Values(g.report[key]))
	if want = slices.Sorted(slices.Values(want)); !slices.Equal(got, want) {
		g.t.Errorf("%s sees %s %q, want %q", g.name, key, got, want)
	}
}

// findsBySerial makes the guest write to the disk with the serial that Describe reports for data, and reads that volume on the
// NAS.
func (g *guest) findsBySerial() {
	g.t.Helper()
	var about struct {
		Serials string `json:"disk_serials"`
	}
	if err := json.Unmarshal([]byte(g.describe(g.id).GetProviderRawJson()), &about); err != nil {
		g.t.Fatal(err)
	}
	var serial string
	for _, entry := range strings.Split(about.Serials, ",") {
		if name, text, _ := strings.Cut(entry, "="); name == "data" {
			serial = text
		}
	}
	if serial == "" {
		g.t.Fatalf("Describe reports the serials %q, none for data", about.Serials)
	}
	const text = "written-by-serial"
	if got := g.command("stamp "+serial+" "+text, "guest stamped "); got != "vda" {
		g.t.Errorf("%s found the serial %s on %s, want vda", g.name, serial, got)
	}
	for _, d := range g.vm().Devices {
		volume, isDisk := strings.CutPrefix(d.Attributes.Path, "/dev/zvol/")
		if !isDisk {
			continue
		}
		content := make([]byte, len(text))
		if _, err := g.nas.ReadVolume(volume, content, 0); err != nil {
			g.t.Fatal(err)
		}
		if isData := strings.HasSuffix(volume, "/data"); isData != (string(content) == text) {
			g.t.Errorf("%s begins with %q", volume, content)
		}
	}
	g.log.say("%s: found the disk data by its serial %s, and wrote on it", g.name, serial)
}
