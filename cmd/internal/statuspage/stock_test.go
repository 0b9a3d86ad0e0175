package statuspage

import (
	"strings"
	"testing"

	"virtrigaud-provider-truenas/server"
)

// Each pool has a bar for its usage, and each device the name of the VM that has it.
func TestPoolsAndDevices(t *testing.T) {
	page := render(t, Page{Sections: []Section{
		poolsOf([]server.PoolState{
			{Name: "fast", UsedBytes: 3 << 30, FreeBytes: 1 << 30, Status: "DEGRADED", InUse: true},
			{Name: "tank", UsedBytes: 1 << 40, FreeBytes: 3 << 40, Status: "ONLINE", Healthy: true, InUse: true},
			{Name: "vault", Locked: true},
		}),
		devicesOf([]server.HostDevice{
			{Name: "pci_0000_01_00_0", Kind: "PCI", Description: "GTX 1070", Holder: "web-1"},
			{Name: "usb_1_2", Kind: "USB", Description: "CP210x"},
		}),
	}})
	for _, want := range []string{
		`<progress max="100" value="75"></progress> 75 % of 4 GiB`, `<span class="mark bad">degraded</span>`,
		`<progress max="100" value="25"></progress> 25 % of 4 TiB`, `<span class="mark good">online</span>`,
		`<span class="mark warn">locked</span>`, "not among the allowed pools",
		"pci_0000_01_00_0", "web-1", `<span class="mark good">free</span>`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not show %s", want)
		}
	}
	if t.Failed() {
		t.Log(page)
	}
}
