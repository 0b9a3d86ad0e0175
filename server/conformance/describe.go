package conformance

import (
	"encoding/json"
	"net/netip"
	"net/url"
	"strings"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// noSuchVMs are ids without a VM. A provider with another form of ids may also treat them as malformed.
var noSuchVMs = []string{
	"00000000-0000-4000-8000-000000000000", "vm-1795262071-4323", "", " ", "../..", "0", "-1", "ID\x00\n", "'; --", "{}", "ü", strings.Repeat("x", 300),
}

func checkDescribe(c *checker) {
	id := c.create(c.plain(c.name("described")))
	for range 2 {
		c.await(id, stateOff)
		checkDescription(c, c.describe(id))
	}
	c.power(id, providerv1.PowerOp_POWER_OP_ON)
	c.await(id, stateOn)
	checkDescription(c, c.describe(id))
	for _, id := range noSuchVMs {
		vm := c.describe(id)
		if vm.GetExists() || vm.GetPowerState() != "" || len(vm.GetIps()) > 0 {
			c.Errorf("Describe %q: %v; want exists=false and nothing else", id, vm)
		}
	}
}

// checkDescription checks that a response has a form that the manager reads.
func checkDescription(c *checker, vm *providerv1.DescribeResponse) {
	c.Helper()
	if raw := vm.GetProviderRawJson(); raw != "" {
		var flat map[string]string
		if err := json.Unmarshal([]byte(raw), &flat); err != nil {
			c.Errorf("provider_raw_json is not a flat object of strings: %v in %s", err, raw)
		}
	}
	for _, ip := range vm.GetIps() {
		if _, err := netip.ParseAddr(ip); err != nil {
			c.Errorf("%q among the addresses: %v", ip, err)
		}
	}
	if console := vm.GetConsoleUrl(); console != "" {
		if u, err := url.Parse(console); err != nil || u.Scheme == "" {
			c.Errorf("console_url %q is not a URL", console)
		}
	}
}
