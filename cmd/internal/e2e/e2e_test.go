//go:build e2e

package e2e

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas/sim"
)

// tour is the life of a few VMs, from an image's URL to their deletion.
type tour struct {
	*testing.T
	log           *timeline
	home          *site
	image         string // its URL, then its path on the NAS
	asked         time.Time
	web, uefi     *guest
	store, cloned *guest
}

// TestGuests runs its steps in order. Each needs the previous one.
func TestGuests(t *testing.T) {
	o := &tour{T: t, log: newTimeline()}
	o.home = newSite(t, o.log, "the NAS", "27")
	o.log.say("QEMU runs by %s", o.home.qemu.Accelerator())
	o.image = images(t).URL + "/guest.qcow2.xz"
	before := o.home.nas.State()
	o.prepare()
	o.createAndBoot()
	o.addresses()
	o.snapshot()
	if !*brief {
		o.clone()
		o.migrate()
	}
	o.shutDown()
	if !*brief {
		o.grow()
	}
	o.deleteAll(before)
	o.log.summary()
}

// prepare fetches the image.
func (o *tour) prepare() {
	o.asked = time.Now()
	resp, err := o.home.rpc.ImagePrepare(o.Context(), &providerv1.ImagePrepareRequest{
		ImageJson:  `{"source":{"libvirt":{"url":` + quoted(o.image) + `}},"prepare":{"onMissing":"Import","timeout":"10m0s"}}`,
		TargetName: "guest",
	})
	if err != nil {
		o.Fatal(err)
	}
	o.image = resp.GetPreparedImagePath()
	o.home.finish(resp.GetTask())
	o.log.say("the image is ready, from qcow2.xz over http")
}

// The requests for the VMs. The third guest ignores both the agent and the power button.
const (
	webData   = "#cloud-config\nrole: web\n"
	uefiData  = "#cloud-config\nrole: uefi\n# guest_agent: off\n"
	storeData = "#cloud-config\nrole: store\n# guest_agent: off\n# power_button: ignored\n"
	small     = `{"CPU":1,"MemoryMiB":384,"Firmware":"BIOS","DiskDefaults":{"Type":"thin","SizeGiB":1}}`
	smallUEFI = `{"CPU":2,"MemoryMiB":512,"Firmware":"UEFI","DiskDefaults":{"Type":"thin","SizeGiB":2}}`
	hasty     = `{"CPU":1,"MemoryMiB":384,"Firmware":"BIOS","DiskDefaults":{"Type":"thin","SizeGiB":1},"ExtraConfig":{"truenas.io/shutdown_timeout":"5"}}`
	static    = "192.0.2.10"
)

// createAndBoot creates three VMs with different seeds and boots them: one with a static address, one with UEFI, one with a
// second disk and two NICs.
func (o *tour) createAndBoot() {
	o.web = o.home.create(&providerv1.CreateRequest{
		Name: "web-1", ClassJson: small, UserData: []byte(webData),
		NetworksJson: `[{"Name":"eth0","Bridge":"br0","Model":"virtio","StaticIP":"192.0.2.10","Prefix":24,"Gateway":"192.0.2.1"}]`,
	}, o.image)
	o.web.requested = o.asked
	o.web.on()
	o.web.await("cold: the image is fetched and prepared first")
	const warm = "warm: a clone of the prepared image"
	o.uefi = o.home.create(&providerv1.CreateRequest{
		Name: "uefi-1", ClassJson: smallUEFI, UserData: []byte(uefiData), NetworksJson: `[{"Name":"eth0","Bridge":"br0"}]`,
	}, o.image)
	o.uefi.on()
	o.uefi.await(warm + ", UEFI")
	if !*brief {
		o.store = o.home.create(&providerv1.CreateRequest{
			Name: "store-1", ClassJson: hasty, UserData: []byte(storeData), DisksJson: `[{"SizeGiB":3,"Type":"thin","Name":"data"}]`,
			NetworksJson: `[{"Name":"eth0","Bridge":"br0","Model":"virtio"},{"Name":"eth1","Bridge":"br20","Model":"e1000"}]`,
		}, o.image)
		o.store.on()
		o.store.await(warm)
	}
	o.checkReports()
}

// checkReports compares the guests' reports with the requests.
func (o *tour) checkReports() {
	seeds := map[*guest]string{o.web: webData, o.uefi: uefiData}
	if o.store != nil {
		seeds[o.store] = storeData
	}
	for g, data := range seeds {
		g.ownIdentity()
		g.holds("name", g.name)
		if !slices.Contains(g.report["seed"], "user-data "+sumOf(data)) {
			g.t.Errorf("%s: its seed is %q, and its user data %s", g.name, g.report["seed"], sumOf(data))
		}
	}
	o.web.holds("firmware", "bios")
	o.web.holds("address", "eth0 "+static+"/24")
	o.uefi.holds("firmware", "uefi")
	o.uefi.holds("cpus", "2")
	if o.store != nil && (!strings.HasPrefix(o.store.address("eth0"), "192.0.2.") || !strings.HasPrefix(o.store.address("eth1"), "198.51.100.")) {
		o.Errorf("%s has the addresses %q", o.store.name, o.store.report["address"])
	}
	mac := strings.Fields(o.web.nics()[0])[1]
	if lines := o.home.heard.of(mac); len(lines) == 0 || !strings.HasPrefix(lines[0], static+" ") {
		o.Errorf("over the network, %s sends %q", o.web.name, lines)
	}
	o.log.say("every guest has its own UUID, seed, MACs, disks and serials")
}

// addresses checks the addresses that Describe returns.
func (o *tour) addresses() { o.web.knows(static) }

// snapshot writes, takes a snapshot, writes again, reverts, and reads the first text.
func (o *tour) snapshot() {
	g := o.web
	g.write("first")
	snap, err := o.home.rpc.SnapshotCreate(o.Context(), &providerv1.SnapshotCreateRequest{VmId: g.id, NameHint: "before"})
	if err != nil {
		o.Fatal(err)
	}
	o.home.finish(snap.GetTask())
	g.write("second")
	g.off()
	back, err := o.home.rpc.SnapshotRevert(o.Context(), &providerv1.SnapshotRevertRequest{VmId: g.id, SnapshotId: snap.GetSnapshotId()})
	if err != nil {
		o.Fatal(err)
	}
	o.home.finish(back.GetTask())
	g.requested = time.Now()
	g.on()
	g.await("power on only")
	g.holds("marker", "first")
	o.log.say("%s: after the snapshot was reverted to, its disk says %q", g.name, g.report.one("marker"))
}

// clone makes a linked clone, which boots with its own identity.
func (o *tour) clone() {
	asked := time.Now()
	resp, err := o.home.rpc.Clone(o.Context(), &providerv1.CloneRequest{SourceVmId: o.web.id, TargetName: "web-2", Linked: true})
	if err != nil {
		o.Fatal(err)
	}
	o.home.finish(resp.GetTask())
	o.cloned = o.home.guest("web-2", resp.GetTargetVmId())
	o.cloned.requested = asked
	o.cloned.on()
	o.cloned.await("linked clone of a VM that runs")
	o.cloned.ownIdentity()
	o.cloned.holds("name", "web-2")
	o.cloned.holds("marker", "first")
	if o.cloned.id == o.web.id || o.cloned.nics()[0] == o.web.nics()[0] || o.cloned.address("eth0") == static {
		o.Errorf("the clone has the wrong identity: %q", o.cloned.report)
	}
	o.cloned.off()
}

// shutDown requests shutdowns by the agent, by the power button, and of a guest that ignores both.
func (o *tour) shutDown() {
	for _, g := range []*guest{o.web, o.uefi} {
		mark, begin := g.console.Mark(), time.Now()
		g.finish(g.power(providerv1.PowerOp_POWER_OP_SHUTDOWN_GRACEFUL, 60))
		o.home.until(g.name+" is off", time.Minute, func() bool { return g.describe(g.id).GetPowerState() == "Off" })
		by := "the agent"
		if strings.Contains(g.console.Since(mark), "guest heard the power button") {
			by = "the power button"
		}
		if want := map[*guest]string{o.web: "the agent", o.uefi: "the power button"}[g]; by != want || !strings.Contains(g.console.Since(mark), "guest bye") {
			o.Errorf("%s was shut down by %s, want %s; its report is %q", g.name, by, want, g.console.Since(mark))
		}
		o.log.say("%s: shut down by %s in %.1fs", g.name, by, time.Since(begin).Seconds())
	}
	if o.store == nil {
		return
	}
	o.store.finish(o.store.power(providerv1.PowerOp_POWER_OP_SHUTDOWN_GRACEFUL, 5))
	if got := o.store.describe(o.store.id).GetPowerState(); got != "On" {
		o.Errorf("%s ignores the shutdown and was not forced off, but its power state is %s", o.store.name, got)
	}
	o.store.command("read", "guest marker ")
	o.log.say("%s: ignores the shutdown, and still runs after the timeout", o.store.name)
	o.store.off()
}

// grow gives a VM a larger disk and a second processor, which its guest sees after the next boot.
func (o *tour) grow() {
	g := o.web
	desired := strings.NewReplacer(`"SizeGiB":1`, `"SizeGiB":4`, `"CPU":1`, `"CPU":2`).Replace(small)
	resp, err := o.home.rpc.Reconfigure(o.Context(), &providerv1.ReconfigureRequest{
		Id: g.id, DesiredJson: `{"Name":"web-1","Class":` + desired + `,"Networks":[{"Name":"eth0","Bridge":"br0"}],"Disks":null}`,
	})
	if err != nil {
		o.Fatal(err)
	}
	o.home.finish(resp.GetTask())
	g.requested = time.Now()
	g.on()
	g.await("power on only")
	g.ownIdentity()
	g.holds("cpus", "2")
	if !strings.HasPrefix(g.report.one("disk"), "vda 4294967296 ") {
		o.Errorf("%s has %q; its disk has 4 GiB", g.name, g.report["disk"])
	}
	o.log.say("%s: sees 4 GiB and two processors", g.name)
}

// deleteAll deletes everything except the image.
func (o *tour) deleteAll(before sim.State) {
	for _, g := range []*guest{o.web, o.uefi, o.store, o.cloned} {
		if g == nil {
			continue
		}
		if _, err := o.home.rpc.Delete(o.Context(), &providerv1.DeleteRequest{Id: g.id}); err != nil {
			o.Errorf("Delete %s: %v", g.name, err)
		}
	}
	nothingLeft(o.T, o.home, before)
	o.log.say("all VMs are deleted, and nothing is left")
}

// nothingLeft compares a NAS with its earlier state, except images and the provider's own folders.
func nothingLeft(t *testing.T, s *site, before sim.State) {
	t.Helper()
	after := s.nas.State()
	kept := func(name string) bool {
		return strings.Contains(name, "/images") || slices.Contains([]string{"tank/virtrigaud", "tank/virtrigaud/vms", "tank/virtrigaud/staging", "tank/virtrigaud/imports"}, name)
	}
	after.Datasets = slices.DeleteFunc(after.Datasets, func(d sim.DatasetState) bool { return kept(d.Name) })
	after.Snapshots = slices.DeleteFunc(after.Snapshots, func(n sim.SnapshotState) bool { return kept(n.ID) })
	if len(after.VMs) != 0 || len(after.Datasets) != len(before.Datasets) || !reflect.DeepEqual(after.Snapshots, before.Snapshots) && len(after.Snapshots) > 0 {
		t.Errorf("left: %+v %+v %+v", after.VMs, after.Datasets, after.Snapshots)
	}
	s.until("no process runs", time.Minute, func() bool { return len(s.qemu.Running()) == 0 })
}
