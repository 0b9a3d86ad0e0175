package redfish_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
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
	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/server/redfish"
	"virtrigaud-provider-truenas/server/servertest"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

const (
	password = "correct horse"
	bootISO  = "/mnt/tank/iso/ipxe.iso"
)

// service starts a Redfish service for this project's provider on a simulated NAS of a release.
func service(t *testing.T, release string) (url string, rpc providerv1.ProviderClient, nas *sim.Sim) {
	t.Helper()
	client, nas := truenastest.New(t, func(c *sim.Config) { c.Release = release })
	provider, err := server.New(client, server.Config{ID: "redfish", Dataset: "tank/virtrigaud", DefaultNetwork: "br0", NetworkBootISO: bootISO,
		Disk: disk.Options{AllowAddresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = provider.Close() })
	rpc = servertest.Dial(t, provider.Register)
	hash, err := bcrypt.GenerateFromPassword([]byte(password), 10)
	if err != nil {
		t.Fatal(err)
	}
	accounts := filepath.Join(t.TempDir(), "accounts.yaml")
	if err := os.WriteFile(accounts, fmt.Appendf(nil, "accounts: [{name: omni, role: Operator, password_hash: '%s', systems: [web-1]}]", hash), 0o600); err != nil {
		t.Fatal(err)
	}
	handler, err := redfish.New(redfish.Config{Provider: rpc, Accounts: accounts, ID: "redfish"})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(handler)
	t.Cleanup(web.Close)
	return web.URL, rpc, nas
}

// create creates a blank VM.
func create(t *testing.T, rpc providerv1.ProviderClient, name string) string {
	t.Helper()
	resp, err := rpc.Create(t.Context(), &providerv1.CreateRequest{
		Name: name, ClassJson: `{"CPU":2,"MemoryMiB":1024,"Firmware":"UEFI","DiskDefaults":{"SizeGiB":3}}`, NetworksJson: `[{"Name":"eth0","Bridge":"br0"}]`,
	})
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetId()
}

// connect logs in as Omni's bare-metal provider does, with basic authentication, or with a session.
func connect(t *testing.T, url string, basic bool) *gofish.APIClient {
	t.Helper()
	c, err := gofish.ConnectContext(t.Context(), gofish.ClientConfig{Endpoint: url, Username: "omni", Password: password, BasicAuth: basic})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Logout)
	return c
}

func only(t *testing.T, c *gofish.APIClient) *schemas.ComputerSystem {
	t.Helper()
	systems, err := c.Service.Systems()
	if err != nil || len(systems) != 1 {
		t.Fatalf("%d systems, %v", len(systems), err)
	}
	return systems[0]
}

// gofish is the client library of Omni's bare-metal provider, of Tinkerbell and of others.
func TestGofish(t *testing.T) {
	for _, release := range []string{"25.04.2", "25.10", "26", "27"} {
		t.Run(release, func(t *testing.T) {
			url, rpc, nas := service(t, release)
			if err := errors.Join(nas.AddDataset("tank/iso", nil), nas.AddFile(bootISO, 1<<20)); err != nil {
				t.Fatal(err)
			}
			id := create(t, rpc, "web-1")
			create(t, rpc, "store-1")
			for _, basic := range []bool{true, false} {
				inventory(t, connect(t, url, basic), id)
			}
			power(t, connect(t, url, true))
			bootOnce(t, connect(t, url, true))
			insert(t, connect(t, url, true), nas)
		})
	}
}

func inventory(t *testing.T, c *gofish.APIClient, id string) {
	t.Helper()
	y := only(t, c)
	if y.ID != id || y.UUID != id || y.Name != "web-1" || y.PowerState != schemas.OffPowerState || y.SystemType != schemas.VirtualSystemType {
		t.Errorf("the system is %+v", y)
	}
	if y.Boot.BootSourceOverrideMode != schemas.UEFIBootSourceOverrideMode {
		t.Errorf("its mode is %q", y.Boot.BootSourceOverrideMode)
	}
	nics, err := y.EthernetInterfaces()
	if err != nil || len(nics) != 1 || nics[0].MACAddress == "" {
		t.Errorf("its NICs are %+v, %v", nics, err)
	}
	storage, err := y.Storage()
	if err != nil || len(storage) != 1 {
		t.Fatalf("its storage is %v, %v", storage, err)
	}
	drives, err := storage[0].Drives()
	if err != nil || len(drives) != 1 || *drives[0].CapacityBytes != 3<<30 {
		t.Errorf("its drives are %+v, %v", drives, err)
	}
	if volumes, err := storage[0].Volumes(); err != nil || len(volumes) != 1 {
		t.Errorf("its volumes are %v, %v", volumes, err)
	}
	if cpus, err := y.Processors(); err != nil || len(cpus) != 1 || *cpus[0].TotalCores != 2 {
		t.Errorf("its processors are %v, %v", cpus, err)
	}
	if modules, err := y.Memory(); err != nil || len(modules) != 1 || *modules[0].CapacityMiB != 1024 {
		t.Errorf("its memory is %v, %v", modules, err)
	}
	managers, err := c.Service.Managers()
	if err != nil || len(managers) != 1 {
		t.Fatalf("the managers are %v, %v", managers, err)
	}
	if media, err := managers[0].VirtualMedia(); err != nil || len(media) != 1 {
		t.Errorf("the virtual media are %v, %v", media, err)
	}
	if chassis, err := c.Service.Chassis(); err != nil || len(chassis) != 1 {
		t.Errorf("the chassis are %v, %v", chassis, err)
	}
	if secure, err := y.SecureBoot(); err != nil || secure.SecureBootEnable {
		t.Errorf("secure boot is %v, %v", secure, err)
	}
}

func power(t *testing.T, c *gofish.APIClient) {
	t.Helper()
	for _, tt := range []struct {
		kind schemas.ResetType
		want schemas.PowerState
	}{
		{schemas.OnResetType, schemas.OnPowerState},
		{schemas.ForceRestartResetType, schemas.OnPowerState},
		{schemas.PowerCycleResetType, schemas.OnPowerState},
		{schemas.ForceOffResetType, schemas.OffPowerState},
		{schemas.PowerCycleResetType, schemas.OnPowerState},
	} {
		if _, err := only(t, c).Reset(tt.kind); err != nil {
			t.Errorf("%s: %v", tt.kind, err)
		}
		if state := only(t, c).PowerState; state != tt.want {
			t.Errorf("after %s it is %s, want %s", tt.kind, state, tt.want)
		}
	}
}

// bootOnce follows Omni's bare-metal provider: it sets PXE for the next start, restarts the VM, and reads the state.
func bootOnce(t *testing.T, c *gofish.APIClient) {
	t.Helper()
	set := func(enabled schemas.BootSourceOverrideEnabled, target schemas.BootSource) {
		t.Helper()
		boot := schemas.Boot{BootSourceOverrideEnabled: enabled, BootSourceOverrideTarget: target, BootSourceOverrideMode: schemas.UEFIBootSourceOverrideMode}
		if err := only(t, c).SetBoot(&boot); err != nil {
			t.Fatalf("%s %s: %v", enabled, target, err)
		}
	}
	is := func(enabled schemas.BootSourceOverrideEnabled, target schemas.BootSource) {
		t.Helper()
		if boot := only(t, c).Boot; boot.BootSourceOverrideEnabled != enabled || boot.BootSourceOverrideTarget != target {
			t.Errorf("the override is %s %s, want %s %s", boot.BootSourceOverrideEnabled, boot.BootSourceOverrideTarget, enabled, target)
		}
	}
	set(schemas.OnceBootSourceOverrideEnabled, schemas.PxeBootSource)
	is(schemas.OnceBootSourceOverrideEnabled, schemas.PxeBootSource)
	if _, err := only(t, c).Reset(schemas.ForceRestartResetType); err != nil {
		t.Fatal(err)
	}
	is(schemas.DisabledBootSourceOverrideEnabled, schemas.NoneBootSource)
	set(schemas.ContinuousBootSourceOverrideEnabled, schemas.PxeBootSource)
	is(schemas.ContinuousBootSourceOverrideEnabled, schemas.PxeBootSource)
	set(schemas.DisabledBootSourceOverrideEnabled, schemas.NoneBootSource)
	is(schemas.DisabledBootSourceOverrideEnabled, schemas.NoneBootSource)
}

// insert follows Ironic and Tinkerbell: it inserts an ISO by its URL, boots it once, and ejects it while the VM runs.
func insert(t *testing.T, c *gofish.APIClient, nas *sim.Sim) {
	t.Helper()
	iso := make([]byte, 1<<20)
	copy(iso[0x8000:], "\x01CD001\x01")
	copy(iso[0x8000+80:], []byte{0, 2, 0, 0, 0, 0, 2, 0}) // 512 blocks of 2 KiB
	copy(iso[0x8000+128:], []byte{0, 8, 8, 0})
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(iso))
	}))
	t.Cleanup(web.Close)
	drive := func() *schemas.VirtualMedia {
		t.Helper()
		managers, err := c.Service.Managers()
		if err != nil || len(managers) != 1 {
			t.Fatalf("the managers are %v, %v", managers, err)
		}
		list, err := managers[0].VirtualMedia()
		if err != nil || len(list) != 1 {
			t.Fatalf("the virtual media are %v, %v", list, err)
		}
		return list[0]
	}
	image, yes := web.URL+"/boot.iso", true
	if _, err := drive().InsertMedia(&schemas.VirtualMediaInsertMediaParameters{Image: image, Inserted: &yes, WriteProtected: &yes}); err != nil {
		t.Fatal(err)
	}
	if d := drive(); !*d.Inserted || d.Image != image || d.ImageName != "boot.iso" || !*d.WriteProtected || d.ConnectedVia != schemas.URIConnectedVia {
		t.Errorf("the drive is %+v", d)
	}
	if err := only(t, c).SetBoot(&schemas.Boot{BootSourceOverrideEnabled: schemas.OnceBootSourceOverrideEnabled, BootSourceOverrideTarget: schemas.CdBootSource}); err != nil {
		t.Error(err)
	}
	if _, err := only(t, c).Reset(schemas.PowerCycleResetType); err != nil {
		t.Error(err)
	}
	if _, err := drive().EjectMedia(); err != nil {
		t.Error(err)
	}
	if d := drive(); *d.Inserted || d.Image != "" {
		t.Errorf("the drive is %+v", d)
	}
	if _, err := only(t, c).Reset(schemas.PowerCycleResetType); err != nil {
		t.Error(err)
	}
	for _, vm := range nas.VMs() {
		for _, d := range vm.Devices {
			if path := fmt.Sprint(d.Attributes["path"]); d.Attributes["dtype"] == "CDROM" && path != bootISO {
				t.Errorf("%s is still in a drive", path)
			}
		}
	}
}
