//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"maps"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stmcginnis/gofish"
	"github.com/stmcginnis/gofish/schemas"
	"golang.org/x/crypto/bcrypt"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/server/redfish"
	"virtrigaud-provider-truenas/truenas/sim/qemu"
)

// bootRouter is the router of the network for network boots.
const bootRouter = "192.0.2.1"

// TestNetworkBoot installs a blank VM through Redfish, twice in a row: it boots from the network once, installs itself, powers
// off, and boots from the disk. If the boot override "Once" were lost, the VM would boot from the disk first. If it were used
// twice, the VM would boot from the network again. Each guest reports the source of its kernel.
func TestNetworkBoot(t *testing.T) {
	for _, tt := range []struct{ firmware, release, class string }{
		{"BIOS", "25.10", small},
		{"UEFI", "27", smallUEFI},
	} {
		if *brief && tt.firmware != "BIOS" {
			continue
		}
		t.Run(tt.firmware, func(t *testing.T) {
			log := newTimeline()
			w := newInstallation(t, log, tt.release, tt.class)
			for n := range 2 {
				w.walk(n + 1)
			}
			log.summary()
		})
	}
}

// installation is a VM that a Redfish client installs from a boot server.
type installation struct {
	*guest
	boot *bootServer
	bmc  *gofish.APIClient
}

func newInstallation(t *testing.T, log *timeline, release, class string) *installation {
	t.Helper()
	const iso = "ipxe.iso"
	boot := newBootServer(t)
	home := newSite(t, log, "the NAS", release, func(q *qemu.Options, c *server.Config) {
		q.Networks = map[string]netip.Prefix{"br0": netip.MustParsePrefix(bootRouter + "/24")}
		q.Uplinks = map[string]qemu.Uplink{"br0": {BootFile: boot.bootFile(bootRouter)}}
		c.NetworkBootISO = "/mnt/tank/boot/" + iso
	})
	home.put(iso, "boot")
	resp, err := home.rpc.Create(t.Context(), &providerv1.CreateRequest{Name: "bare-1", ClassJson: class, NetworksJson: `[{"Name":"eth0","Bridge":"br0"}]`})
	if err != nil {
		t.Fatal(err)
	}
	home.finish(resp.GetTask())
	log.say("bare-1: created with a blank disk on %s, TrueNAS %s", home.title, release)
	return &installation{guest: home.guest("bare-1", resp.GetId()), boot: boot, bmc: home.redfish()}
}

// redfish serves Redfish in front of the provider, and connects to it.
func (s *site) redfish() *gofish.APIClient {
	s.t.Helper()
	const name, password = "bmc", "correct horse"
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
	if err != nil {
		s.t.Fatal(err)
	}
	accounts := filepath.Join(s.t.TempDir(), "accounts.yaml")
	if err := os.WriteFile(accounts, fmt.Appendf(nil, "accounts: [{name: %s, role: Operator, password_hash: '%s', systems: [bare-1]}]", name, hash), 0o600); err != nil {
		s.t.Fatal(err)
	}
	handler, err := redfish.New(redfish.Config{Provider: s.rpc, Accounts: accounts, ID: "e2e"})
	if err != nil {
		s.t.Fatal(err)
	}
	web := httptest.NewServer(handler)
	s.t.Cleanup(web.Close)
	bmc, err := gofish.ConnectContext(s.t.Context(), gofish.ClientConfig{Endpoint: web.URL, Username: name, Password: password, BasicAuth: true})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(bmc.Logout)
	return bmc
}

// system returns the VM in Redfish.
func (w *installation) system() *schemas.ComputerSystem {
	w.t.Helper()
	systems, err := w.bmc.Service.Systems()
	if err != nil || len(systems) != 1 || systems[0].ID != w.id {
		w.t.Fatalf("Redfish has the systems %v, %v; want one, with the id %s", systems, err, w.id)
	}
	return systems[0]
}

func (w *installation) reset(kind schemas.ResetType) {
	w.t.Helper()
	if _, err := w.system().Reset(kind); err != nil {
		w.t.Fatalf("%s: %v", kind, err)
	}
	w.log.say("%s: Reset %s", w.name, kind)
}

// overrides checks the boot override in Redfish.
func (w *installation) overrides(enabled schemas.BootSourceOverrideEnabled, target schemas.BootSource) {
	w.t.Helper()
	if boot := w.system().Boot; boot.BootSourceOverrideEnabled != enabled || boot.BootSourceOverrideTarget != target {
		w.t.Errorf("the override is %s %s, want %s %s", boot.BootSourceOverrideEnabled, boot.BootSourceOverrideTarget, enabled, target)
	}
}

// walk installs the VM and boots the installed system. All requests go to Redfish.
func (w *installation) walk(n int) {
	w.t.Helper()
	marker := fmt.Sprintf("installation-%d", n)
	w.boot.installs(marker)
	if err := w.system().SetBoot(&schemas.Boot{BootSourceOverrideEnabled: schemas.OnceBootSourceOverrideEnabled, BootSourceOverrideTarget: schemas.PxeBootSource}); err != nil {
		w.t.Fatalf("Pxe once: %v", err)
	}
	w.overrides(schemas.OnceBootSourceOverrideEnabled, schemas.PxeBootSource)

	w.starts("network")
	w.overrides(schemas.DisabledBootSourceOverrideEnabled, schemas.NoneBootSource)
	if got := w.line("guest installed "); got != marker {
		w.t.Fatalf("%s installed %q, want %q", w.name, got, marker)
	}
	w.powersOff()
	w.log.say("%s: installed %q and powered itself off", w.name, marker)
	w.fetches(n)

	w.starts("disk")
	w.line("guest ready")
	w.report = parse(w.console.Since(w.mark))
	w.holds("marker", marker)
	w.holds("uuid", w.id)
	w.fetches(n)
	w.log.say("%s: booted its disk, with %q on it", w.name, w.report.one("marker"))
	w.reset(schemas.ForceOffResetType)
	w.powersOff()
}

// starts switches the VM on and waits until its guest reports the source of its kernel.
func (w *installation) starts(source string) {
	w.t.Helper()
	w.mark, w.requested = w.console.Mark(), time.Now()
	w.reset(schemas.OnResetType)
	if got := w.line("guest source "); got != source {
		w.t.Fatalf("%s booted from the %s, want the %s", w.name, got, source)
	}
	w.log.firstWord(w.name, "by Redfish, from the "+source, time.Since(w.requested))
}

// line waits for a line of the guest's current boot and returns the rest of it.
func (w *installation) line(begin string) string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), bootPatience)
	defer cancel()
	rest, err := w.console.Await(ctx, w.mark, begin)
	if err != nil {
		w.t.Fatalf("%s: %v", w.name, err)
	}
	return rest
}

func (w *installation) powersOff() {
	w.t.Helper()
	w.until("Redfish shows that "+w.name+" is off", bootPatience, func() bool { return w.system().PowerState == schemas.OffPowerState })
}

// fetches checks that the boot server has served n installations.
func (w *installation) fetches(n int) {
	w.t.Helper()
	want := map[string]int{"/vmlinuz": n, "/initrd": n, "/guest.img": n}
	if got, asked := w.boot.fetched(); !maps.Equal(got, want) || asked < n {
		w.t.Errorf("after %d installations the boot server has served %v, and %d scripts; want %v", n, got, asked, want)
	}
}
