package omni

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"virtrigaud-provider-truenas/omni/machine"
)

func fromYAML(data string) func(any) error {
	return func(dest any) error { return yaml.Unmarshal([]byte(data), dest) }
}

func TestClassMistakes(t *testing.T) {
	for _, tt := range []struct{ name, class, want string }{
		{"the required settings", class, ""},
		{"everything", class + "disk_type: thick\nfirmware: UEFI\nsecure_boot: true\ntpm: true\nnetwork_bridge: br0\nvlan: 20\nnetwork_model: e1000\nip_addresses: [192.0.2.10-192.0.2.20, 192.0.2.30]\nip_prefix: 24\nip_gateway: 192.0.2.1\ndns_servers: [192.0.2.53]\nadditional_disks: [{size: 10, name: data, type: thin, pool: rust}]\nadditional_nics: [{network_bridge: br1, vlan: 7}]\ntags: [a]\nprovider: nas\n", ""},
		{"nothing", "", "cores must be given; memory must be given; disk_size must be given"},
		{"a misspelt setting", class + "network_brigde: br0\n", "network_brigde is not a setting; did you mean network_bridge?"},
		{"an unknown setting", class + "colour: red\n", "colour is not a setting"},
		{"an unknown setting of a disk", class + "additional_disks: [{size: 5, speed: 1}]\n", "additional_disks[0].speed is not a setting"},
		{"too many cores", strings.Replace(class, "cores: 2", "cores: 256", 1), "cores is 256; allowed are 1 to 255"},
		{"too little memory", strings.Replace(class, "2048", "512", 1), "memory is 512; allowed are 1024 to 8388608 MiB"},
		{"a disk too small for Talos", strings.Replace(class, "disk_size: 10", "disk_size: 1", 1), "disk_size is 1; allowed are 5 to 1048576 GiB"},
		{"a number as text", strings.Replace(class, "cores: 2", "cores: two", 1), "cores must be a whole number"},
		{"half a core", strings.Replace(class, "cores: 2", "cores: 1.5", 1), "cores must be a whole number"},
		{"a path for a pool", strings.Replace(class, "tank", "tank/vms", 1), "storage_pool is"},
		{"an unknown firmware", class + "firmware: EFI32\n", "firmware is \"EFI32\"; allowed are UEFI and BIOS"},
		{"secure boot without UEFI", class + "firmware: BIOS\nsecure_boot: true\n", "secure_boot needs firmware UEFI"},
		{"text for a truth", class + "tpm: maybe\n", "tpm must be true or false"},
		{"an invalid VLAN", class + "vlan: 5000\n", "vlan is 5000; allowed are 0 to 4094"},
		{"a path for the pool of a disk", class + "additional_disks: [{size: 5, pool: rust/vms}]\n", "additional_disks[0].pool"},
		{"one disk for a list", class + "additional_disks: {size: 5}\n", "additional_disks must be a list"},
		{"a number for a disk", class + "additional_disks: [5]\n", "additional_disks[0] must be a list of settings"},
		{"two disks of one name", class + "additional_disks: [{size: 5, name: a}, {size: 6, name: a}]\n", "additional_disks[1].name \"a\" is given twice"},
		{"a disk without a size", class + "additional_disks: [{name: a}]\n", "additional_disks[0].size must be given"},
		{"addresses without a prefix", class + "ip_addresses: [192.0.2.10]\n", "ip_addresses needs ip_prefix"},
		{"a gateway without addresses", class + "ip_gateway: 192.0.2.1\n", "need ip_addresses"},
		{"an IPv6 prefix length for IPv4 addresses", class + "ip_addresses: [192.0.2.10]\nip_prefix: 64\n", "ip_addresses[0] is \"192.0.2.10\", for which ip_prefix may be 1 to 32, not 64"},
		{"a gateway outside the prefix", class + "ip_addresses: [192.0.2.10]\nip_prefix: 24\nip_gateway: 198.51.100.1\n", "ip_gateway 198.51.100.1 lies outside 192.0.2.0/24"},
		{"a gateway of the other family", class + "ip_addresses: [192.0.2.10]\nip_prefix: 24\nip_gateway: \"2001:db8::1\"\n", "ip_gateway 2001:db8::1 lies outside"},
		{"a routed gateway", class + "ip_addresses: [192.0.2.10-192.0.2.20]\nip_prefix: 32\nip_gateway: 198.51.100.1\n", ""},
		{"a range beyond its network", class + "ip_addresses: [192.0.2.250-192.0.3.5]\nip_prefix: 24\n", "more than one network of ip_prefix 24"},
		{"only the gateway", class + "ip_addresses: [192.0.2.0-192.0.2.1]\nip_prefix: 24\nip_gateway: 192.0.2.1\n", "ip_addresses holds only addresses of the network"},
		{"IPv4 addresses written as IPv6", class + "ip_addresses: [\"::ffff:192.0.2.10\"]\nip_prefix: 120\n", "write IPv4 addresses as 192.0.2.10"},
		{"two default routes", class + "ip_addresses: [192.0.2.10]\nip_prefix: 24\nip_gateway: 192.0.2.1\nadditional_nics: [{ip_addresses: [198.51.100.10], ip_prefix: 24, ip_gateway: 198.51.100.1}]\n", "additional_nics[0].ip_gateway: another network card has a gateway already"},
		{"a network", class + "ip_addresses: [192.0.2.64/26]\nexclude: [192.0.2.70, 192.0.2.80-192.0.2.90, 192.0.2.96/28]\nip_prefix: 24\n", ""},
		{"an address as a network", class + "ip_addresses: [192.0.2.70/26]\nip_prefix: 24\n", "write the network as 192.0.2.64/26"},
		{"a network of IPv6", class + "ip_addresses: [\"2001:db8::/64\"]\nip_prefix: 64\n", "holds more than 65536 addresses"},
		{"a network larger than its prefix", class + "ip_addresses: [192.0.2.0/23]\nip_prefix: 24\n", "more than one network of ip_prefix 24"},
		{"all of a network excluded", class + "ip_addresses: [192.0.2.64/30]\nexclude: [192.0.2.0/24]\nip_prefix: 24\n", "and excluded ones"},
		{"excluded words", class + "ip_addresses: [192.0.2.64/30]\nexclude: [mine]\nip_prefix: 24\n", "exclude[0]: \"mine\" is neither"},
		{"excluded addresses without a pool", class + "exclude: [192.0.2.1]\n", "exclude needs ip_addresses"},
		{"a range backwards", class + "ip_addresses: [192.0.2.20-192.0.2.10]\nip_prefix: 24\n", "ip_addresses[0]: \"192.0.2.20-192.0.2.10\" is neither"},
		{"an endless range", class + "ip_addresses: [\"2001:db8::-2001:db8:1::\"]\nip_prefix: 64\n", "holds more than 65536 addresses"},
		{"a DNS server by name", class + "ip_addresses: [192.0.2.10]\nip_prefix: 24\ndns_servers: [dns.example]\n", "dns_servers[0]: \"dns.example\" is not an IP address"},
		{"a tag of the adapter's", class + "tags: [omni-provider=x]\n", "is not a tag"},
		{"no YAML", "cores: [", "cannot be read as YAML"},
		{"a list", "- 1\n", "cannot be read as YAML"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseClass(fromYAML(tt.class))
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

// TestTags checks the limits of a tag, which the provider stores in a list with commas.
func TestTags(t *testing.T) {
	for tag, ok := range map[string]bool{
		"a": true, "a=b c": true, strings.Repeat("x", 100): true, reservedTag[1:]: true, "a" + reservedTag: true,
		strings.Repeat("x", 101): false, "a,b": false, "a\nb": false, reservedTag: false, reservedTag + "x": false,
	} {
		if err := checkTag(tag); (err == nil) != ok {
			t.Errorf("%q: %v", tag, err)
		}
	}
}

// TestBounds accepts the smallest and the largest value of the settings that have them, and refuses the next one.
func TestBounds(t *testing.T) {
	list := func(n int, item string) string {
		return "[" + strings.TrimSuffix(strings.Repeat(item+", ", n), ", ") + "]"
	}
	named := func(n int) string {
		var disks []string
		for i := range n {
			disks = append(disks, fmt.Sprintf("{size: 1, name: d%d}", i))
		}
		return "[" + strings.Join(disks, ", ") + "]"
	}
	set := func(name, value string) string {
		return regexp.MustCompile(`(?m)^`+name+`:.*$`).ReplaceAllString(class, "") + name + ": " + value + "\n"
	}
	for _, tt := range []struct{ name, good, bad, want string }{
		{"cores", "1", "0", "cores is 0; allowed are 1 to 255"},
		{"cores", "255", "256", "cores is 256"},
		{"memory", "1024", "1023", "memory is 1023; allowed are 1024 to 8388608 MiB"},
		{"memory", "8388608", "8388609", "memory is 8388609"},
		{"disk_size", "5", "4", "disk_size is 4; allowed are 5 to 1048576 GiB"},
		{"disk_size", "1048576", "1048577", "disk_size is 1048577"},
		{"vlan", "4094", "4095", "vlan is 4095"},
		{"vlan", "0", "-1", "vlan is -1"},
		{"storage_pool", strings.Repeat("x", 63), strings.Repeat("x", 64), "storage_pool is"},
		{"storage_pool", `""`, `"-a"`, "storage_pool is"},
		{"provider", "nas.1", "nas:1", "provider is"},
		{"additional_nics", list(16, "{}"), list(17, "{}"), "additional_nics has 17 entries; at most 16 are allowed"},
		{"additional_disks", named(16), named(17), "additional_disks has 17 entries"},
		{"tags", list(256, "a"), list(257, "a"), "tags has 257 entries; at most 256 are allowed"},
		{"tags", "[a]", "[null]", "tags[0] must be given"},
		{"tags", "[a]", "[1]", "tags[0] must be a text"},
		{"spread", "strict", "odd", "spread is"},
		{"mtu", "1280", "1279", "mtu is 1279"},
	} {
		if _, err := parseClass(fromYAML(set(tt.name, tt.good))); err != nil {
			t.Errorf("%s: %s: %v", tt.name, tt.good, err)
		}
		if _, err := parseClass(fromYAML(set(tt.name, tt.bad))); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %s: %v, want %s", tt.name, tt.bad, err, tt.want)
		}
	}
}

// TestBoundsOfProviderData checks what a user of Omni can make the adapter check: the number of nodes, and the length of a report.
func TestBoundsOfProviderData(t *testing.T) {
	doc := func(n int) string { // A document, its map, a name, a list and n items.
		return "a: [" + strings.TrimSuffix(strings.Repeat("1,", n), ",") + "]"
	}
	for n, ok := range map[int]bool{maxNodes - 4: true, maxNodes - 3: false, 2 * maxNodes: false} {
		var data bounded
		if err := yaml.Unmarshal([]byte(doc(n)), &data); (err == nil) != ok || err != nil && !strings.Contains(err.Error(), "more than 4096 names and values") {
			t.Errorf("%d items: %v", n, err)
		}
	}
	var wrong []string
	for i := range maxWrong {
		wrong = append(wrong, fmt.Sprint(i))
	}
	if got := textOf(wrong); strings.Contains(got, "more") || strings.Count(got, ";") != maxWrong-1 {
		t.Errorf("%d mistakes: %s", maxWrong, got)
	}
	if got := textOf(append(wrong, "x", "y")); !strings.HasSuffix(got, "; 19; and 2 more") {
		t.Errorf("two more: %s", got)
	}
	long := strings.Repeat("é", maxMistake/2)
	if got := textOf([]string{long, long + "x", "x" + long}); got != long+"; "+long+"…; x"+strings.TrimSuffix(long, "é")+"…" {
		t.Errorf("long mistakes: %s", got)
	}
}

func FuzzClass(f *testing.F) {
	f.Add(class)
	f.Add("additional_disks: [{size: 5}]\nadditional_nics: [{vlan: 1}]\n")
	f.Fuzz(func(t *testing.T, data string) {
		c, err := parseClass(fromYAML(data))
		if err != nil {
			return
		}
		if c.Cores < 1 || c.Cores > maxCores || c.MemoryMiB < minMemoryMiB || c.DiskGiB < minDiskGiB || c.StoragePool == "" {
			t.Errorf("accepted as %+v", c)
		}
		addresses, err := allocate(c, nil)
		if err == nil && len(c.networks(addresses, nil)) != len(c.nics()) {
			t.Errorf("%d networks for %d cards", len(c.networks(addresses, nil)), len(c.nics()))
		}
	})
}

// TestSchema checks the schema as Omni's form uses it: an object whose properties have titles, descriptions and types, in order.
func TestSchema(t *testing.T) {
	var schema struct {
		Type                 string
		Required             []string
		AdditionalProperties *bool
		Properties           map[string]struct {
			Type, Title, Description string
			Minimum, Maximum         *int64
			Default                  any
		}
	}
	if err := json.Unmarshal([]byte(Schema()), &schema); err != nil {
		t.Fatal(err)
	}
	if schema.Type != "object" || schema.AdditionalProperties == nil || *schema.AdditionalProperties || !slices.Equal(schema.Required, []string{"cores", "memory", "disk_size"}) {
		t.Errorf("the schema is %s", Schema())
	}
	if len(schema.Properties) != len(classFields()) {
		t.Errorf("%d properties for %d settings", len(schema.Properties), len(classFields()))
	}
	for name, p := range schema.Properties {
		if p.Title == "" || p.Description == "" || p.Type == "" || p.Type == "integer" && (p.Minimum == nil || p.Maximum == nil) {
			t.Errorf("%s is %+v", name, p)
		}
	}
	if cores, memory := strings.Index(Schema(), `"cores":`), strings.Index(Schema(), `"memory":`); cores < 0 || cores > memory {
		t.Error("the form is not in order")
	}
}

func TestHostName(t *testing.T) {
	long := strings.Repeat("a-very-long-cluster-name-", 4) + "workers-7k2m4p"
	label := regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	seen := map[string]string{}
	for _, id := range []string{"cluster-workers-7k2m4p", "Cluster-Workers-7k2m4p", "cluster.workers_7k2m4p", "cluster-workers-7k2m4p-", long, long + "q", "...", "9"} {
		name := hostName(id)
		if !label.MatchString(name) {
			t.Errorf("%q becomes %q, which is not a host name", id, name)
		}
		if other, ok := seen[name]; ok {
			t.Errorf("%q and %q both become %q", id, other, name)
		}
		seen[name] = id
	}
	if name := hostName("cluster-workers-7k2m4p"); name != "cluster-workers-7k2m4p" {
		t.Errorf("a good name became %q", name)
	}
}

func TestAllocate(t *testing.T) {
	static, err := parseClass(fromYAML(class + "ip_addresses: [192.0.2.10-192.0.2.11, 192.0.2.20]\nip_prefix: 24\nadditional_nics: [{}, {ip_addresses: [\"2001:db8::1\"], ip_prefix: 64}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	taken := func(addresses ...string) map[string]*machine.MachineSpec {
		return map[string]*machine.MachineSpec{"other": {Addresses: addresses}}
	}
	for _, tt := range []struct {
		name   string
		others map[string]*machine.MachineSpec
		want   string
	}{
		{"the first", nil, "192.0.2.10,,2001:db8::1"},
		{"the next", taken("192.0.2.10"), "192.0.2.11,,2001:db8::1"},
		{"out of the second range", taken("192.0.2.10", "192.0.2.11"), "192.0.2.20,,2001:db8::1"},
		{"none left", taken("192.0.2.10", "192.0.2.11", "192.0.2.20"), ""},
		{"none left of the other card", taken("2001:db8::1"), ""},
	} {
		got, err := allocate(static, tt.others)
		if strings.Join(got, ",") != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%s: %v, %v", tt.name, got, err)
		}
	}
}

// TestAllocateReservesAddresses uses every address of a small network from .0 on. Machines never get the addresses of the network,
// its gateway and its DNS server.
func TestAllocateReservesAddresses(t *testing.T) {
	c, err := parseClass(fromYAML(class + "ip_addresses: [192.0.2.0-192.0.2.7]\nip_prefix: 29\nip_gateway: 192.0.2.1\ndns_servers: [192.0.2.3]\n"))
	if err != nil {
		t.Fatal(err)
	}
	others := map[string]*machine.MachineSpec{}
	var given []string
	for i := range 10 {
		addresses, err := allocate(c, others)
		if err != nil {
			break
		}
		others[string(rune('a'+i))] = &machine.MachineSpec{Addresses: addresses}
		given = append(given, addresses...)
	}
	if want := []string{"192.0.2.2", "192.0.2.4", "192.0.2.5", "192.0.2.6"}; !slices.Equal(given, want) {
		t.Errorf("allocated %v, want %v", given, want)
	}
}

// TestAllocateFromANetwork allocates the addresses of a network in order, without reserved and excluded ones.
func TestAllocateFromANetwork(t *testing.T) {
	for _, tt := range []struct {
		nic  NIC
		want []string
	}{
		{NIC{Addresses: []string{"192.0.2.0/29"}, Prefix: 29, Gateway: "192.0.2.1", Exclude: []string{"192.0.2.3", "192.0.2.5-192.0.2.6"}}, []string{"192.0.2.2", "192.0.2.4"}},
		{NIC{Addresses: []string{"192.0.2.64/30"}, Prefix: 24}, []string{"192.0.2.64", "192.0.2.65", "192.0.2.66", "192.0.2.67"}},
		{NIC{Addresses: []string{"2001:db8::/126"}, Prefix: 64, Exclude: []string{"2001:db8::2/127"}}, []string{"2001:db8::1"}},
		{NIC{Addresses: []string{"192.0.2.10-192.0.2.13"}, Prefix: 24, Exclude: []string{"192.0.2.8/30"}}, []string{"192.0.2.12", "192.0.2.13"}},
	} {
		others := map[string]*machine.MachineSpec{}
		var got []string
		for i := range len(tt.want) + 1 {
			addresses, err := allocate(Class{NIC: tt.nic}, others)
			if err != nil {
				break
			}
			got = append(got, addresses[0])
			others[fmt.Sprint(i)] = &machine.MachineSpec{Addresses: addresses}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%v: got %v, want %v", tt.nic.Addresses, got, tt.want)
		}
	}
}

func TestExcludedAddresses(t *testing.T) {
	n := NIC{Exclude: []string{"192.0.2.10-192.0.2.12", "2001:db8::5"}}
	for text, excluded := range map[string]bool{
		"192.0.2.9": false, "192.0.2.10": true, "192.0.2.11": true, "192.0.2.12": true, "192.0.2.13": false,
		"2001:db8::4": false, "2001:db8::5": true, "2001:db8::6": false,
	} {
		if got := n.excluded(netip.MustParseAddr(text)); got != excluded {
			t.Errorf("%s is excluded: %t", text, got)
		}
	}
}
