package conformance

import (
	"strings"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// checkRefusals sends invalid Creates. Each must fail with the code of an invalid request, and leave no VM.
func checkRefusals(c *checker) {
	for _, bad := range []struct {
		name   string
		change func(*providerv1.CreateRequest)
	}{
		{"class that is not JSON", func(r *providerv1.CreateRequest) { r.ClassJson = "{" }},
		{"class that is a list", func(r *providerv1.CreateRequest) { r.ClassJson = "[]" }},
		{"class with a CPU in letters", func(r *providerv1.CreateRequest) { r.ClassJson = `{"CPU":"two","MemoryMiB":256}` }},
		{"no CPU", func(r *providerv1.CreateRequest) { r.ClassJson = text(class{MemoryMiB: 256}) }},
		{"negative number of CPUs", func(r *providerv1.CreateRequest) { r.ClassJson = text(class{CPU: -1, MemoryMiB: 256}) }},
		{"a million CPUs", func(r *providerv1.CreateRequest) { r.ClassJson = text(class{CPU: 1e6, MemoryMiB: 256}) }},
		{"no memory", func(r *providerv1.CreateRequest) { r.ClassJson = text(class{CPU: 1}) }},
		{"negative memory", func(r *providerv1.CreateRequest) { r.ClassJson = text(class{CPU: 1, MemoryMiB: -1}) }},
		{"unknown firmware", func(r *providerv1.CreateRequest) {
			r.ClassJson = text(class{CPU: 1, MemoryMiB: 256, Firmware: "coreboot9000"})
		}},
		{"root disk of negative size", func(r *providerv1.CreateRequest) {
			r.ClassJson = text(class{CPU: 1, MemoryMiB: 256, DiskDefaults: &diskDefaults{SizeGiB: -1}})
		}},
		{"image that is not JSON", func(r *providerv1.CreateRequest) { r.ImageJson = "nonsense" }},
		{"image that does not exist", func(r *providerv1.CreateRequest) { r.ImageJson = text(image{Path: "no/such/image"}) }},
		{"networks that are not JSON", func(r *providerv1.CreateRequest) { r.NetworksJson = "[" }},
		{"networks that are not a list", func(r *providerv1.CreateRequest) { r.NetworksJson = `"br0"` }},
		{"network that does not exist", func(r *providerv1.CreateRequest) {
			r.NetworksJson = text([]network{{Name: "eth0", Bridge: "no-such-bridge"}})
		}},
		{"invalid address", func(r *providerv1.CreateRequest) {
			r.NetworksJson = text([]network{{Name: "eth0", Bridge: c.target.Network, StaticIP: "192.0.2.300", Prefix: 24}})
		}},
		{"disks that are not JSON", func(r *providerv1.CreateRequest) { r.DisksJson = "{]" }},
		{"disk of size zero", func(r *providerv1.CreateRequest) { r.DisksJson = text([]disk{{Name: "data"}}) }},
		{"disk of negative size", func(r *providerv1.CreateRequest) { r.DisksJson = text([]disk{{Name: "data", SizeGiB: -5}}) }},
		{"placement that is not JSON", func(r *providerv1.CreateRequest) { r.PlacementJson = "tank" }},
		{"pool that does not exist", func(r *providerv1.CreateRequest) { r.PlacementJson = text(placement{Datastore: "no_such_pool"}) }},
		{"no name", func(r *providerv1.CreateRequest) { r.Name = "" }},
		{"too long name", func(r *providerv1.CreateRequest) { r.Name = c.name(strings.Repeat("x", 300)) }},
	} {
		c.sub(bad.name, func(c *checker) {
			req := c.plain(c.name("refused"))
			bad.change(req)
			for range 2 {
				_, err := c.tryCreate(req)
				c.refused("Create", err)
			}
			if vm := c.listed(req.GetName()); vm != nil {
				c.Errorf("it left the VM %v", vm)
			}
		})
	}
}
