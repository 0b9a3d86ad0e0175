package server_test

import (
	"slices"
	"testing"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// The stock has each pool with its space and state, and each device with the VM that has it. A second call causes no query of the
// NAS.
func TestStock(t *testing.T) {
	t.Parallel()
	for _, release := range allReleases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			api, nas := truenastest.New(t, func(c *sim.Config) {
				c.Release = release
				c.Pools = []sim.Pool{{Name: "tank", SizeBytes: 1 << 40}, {Name: "fast", SizeBytes: 100 << 30, Degraded: true}, {Name: "boot-pool", SizeBytes: 16 << 30}}
				withHostDevices(c)
			})
			client, provider := serve(t, api, func(c *server.Config) { c.AllowedPools = []string{"tank"} })
			addImage(t, nas)
			if _, err := client.Create(t.Context(), vmWith("web-1", "pci=pci_0000_01_00_0", "usb=1050:0407")); err != nil {
				t.Fatal(err)
			}
			stock := provider.Stock(t.Context())
			calls := len(nas.Calls())
			if again := provider.Stock(t.Context()); len(nas.Calls()) != calls || !slices.Equal(again.Pools, stock.Pools) {
				t.Errorf("a second look asked %v and got %v", nas.Calls()[calls:], again.Pools)
			}
			if len(stock.Pools) != 2 {
				t.Fatalf("got %v", stock.Pools)
			}
			fast, tank := stock.Pools[0], stock.Pools[1]
			if fast.Name != "fast" || fast.Healthy || fast.Status != "DEGRADED" || fast.InUse || fast.FreeBytes == 0 {
				t.Errorf("got %+v", fast)
			}
			if tank.Name != "tank" || !tank.Healthy || tank.Status != "ONLINE" || !tank.InUse || tank.UsedBytes == 0 || tank.UsedBytes+tank.FreeBytes > 1<<40 {
				t.Errorf("got %+v", tank)
			}
			holders := map[string]string{}
			for _, d := range stock.Devices {
				holders[d.Kind+" "+d.Name] = d.Holder
			}
			want := map[string]string{
				"PCI pci_0000_01_00_0": "web-1", "PCI pci_0000_02_00_0": "", "USB usb_1_2": "", "USB usb_1_3": "", "USB usb_2_1": "web-1",
			}
			if len(holders) != len(want) {
				t.Errorf("got %v", holders)
			}
			for name, holder := range want {
				if got, listed := holders[name]; !listed || got != holder {
					t.Errorf("%s is used by %q, listed %t; want %q", name, got, listed, holder)
				}
			}
		})
	}
}
