package seed

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"github.com/kdomanski/iso9660"
	"sigs.k8s.io/yaml"

	"virtrigaud-provider-truenas/server/spec"
)

func readISO(t *testing.T, image []byte) map[string]string {
	t.Helper()
	img, err := iso9660.OpenImage(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := img.Label(); err != nil || got != label {
		t.Errorf("label %q, %v", got, err)
	}
	root, err := img.RootDir()
	if err != nil {
		t.Fatal(err)
	}
	children, err := root.GetChildren()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, f := range children {
		var b bytes.Buffer
		if _, err := b.ReadFrom(f.Reader()); err != nil {
			t.Fatal(err)
		}
		files[f.Name()] = b.String()
	}
	return files
}

func TestSeedHoldsTheUserDataByteForByte(t *testing.T) {
	want := spec.VM{Name: "web1", UserData: []byte("#cloud-config\nhostname: x\n\x00\xff"), MetaData: []byte("instance-id: i-1\n")}
	s := New(want, "id-1", nil)
	image, err := s.ISO()
	if err != nil {
		t.Fatal(err)
	}
	if len(image)%align != 0 {
		t.Errorf("the image has %d bytes, not whole MiB", len(image))
	}
	files := readISO(t, image)
	if files["user-data"] != string(want.UserData) {
		t.Errorf("user-data = %q", files["user-data"])
	}
	if got, want := files["meta-data"], "instance-id: i-1\nlocal-hostname: \"web1\"\n"; got != want {
		t.Errorf("meta-data = %q, want %q", got, want)
	}
	if _, ok := files["network-config"]; ok {
		t.Error("there is a network configuration, and the request has none")
	}
}

func TestSeedHasStaticAddresses(t *testing.T) {
	want := spec.VM{Name: "web1", Networks: []spec.Network{
		{Name: "eth0", Address: netip.MustParsePrefix("192.0.2.10/24"), Gateway: netip.MustParseAddr("192.0.2.1"), DNS: []netip.Addr{netip.MustParseAddr("192.0.2.53")}},
		{Name: "eth1"},
	}}
	s := New(want, "id-1", []string{"02:00:00:00:00:01", "02:00:00:00:00:02"})
	var plan NetworkConfig
	if err := yaml.UnmarshalStrict(s.files["network-config"], &plan); err != nil {
		t.Fatal(err)
	}
	first, second := plan.Ethernets["nic0"], plan.Ethernets["nic1"]
	if plan.Version != 2 || first.Match["macaddress"] != "02:00:00:00:00:01" || first.DHCP4 || first.Addresses[0] != "192.0.2.10/24" ||
		first.Routes[0] != (Route{To: "0.0.0.0/0", Via: "192.0.2.1"}) || first.Nameservers["addresses"][0] != "192.0.2.53" {
		t.Errorf("first NIC: %+v", first)
	}
	if !second.DHCP4 || second.Match["macaddress"] != "02:00:00:00:00:02" || len(second.Addresses) > 0 {
		t.Errorf("second NIC: %+v", second)
	}
}

func TestSeedOnlyWhenRequested(t *testing.T) {
	if s := New(spec.VM{Name: "web1", Networks: []spec.Network{{}}}, "id", []string{""}); s != nil {
		t.Errorf("there is a seed with %v", s.files)
	}
}

func TestSeedIsNamedByItsContents(t *testing.T) {
	name := func(userData string) string {
		return New(spec.VM{Name: "a", UserData: []byte(userData)}, "id", nil).FileName()
	}
	first := name("x")
	if again := name("x"); again != first {
		t.Errorf("the same contents are named %s and %s", first, again)
	}
	if first == name("y") {
		t.Error("other contents have the same name")
	}
}

func TestSeedConfiguresDNSBesideDHCP(t *testing.T) {
	want := spec.VM{Name: "web1", Networks: []spec.Network{{DNS: []netip.Addr{netip.MustParseAddr("192.0.2.53")}}}}
	s := New(want, "id-1", []string{"02:00:00:00:00:01"})
	if s == nil {
		t.Fatal("no seed")
	}
	var plan NetworkConfig
	if err := yaml.UnmarshalStrict(s.files["network-config"], &plan); err != nil {
		t.Fatal(err)
	}
	if e := plan.Ethernets["nic0"]; !e.DHCP4 || len(e.Nameservers["addresses"]) != 1 || e.Nameservers["addresses"][0] != "192.0.2.53" {
		t.Errorf("the NIC is configured as %+v", e)
	}
}

func TestSeedRoutesOnLink(t *testing.T) {
	want := spec.VM{Name: "web1", Networks: []spec.Network{{Address: netip.MustParsePrefix("192.0.2.10/32"), Gateway: netip.MustParseAddr("198.51.100.1")}}}
	s := New(want, "id-1", []string{"02:00:00:00:00:01"})
	if text := string(s.files["network-config"]); !strings.Contains(text, "on-link: true") {
		t.Errorf("a gateway outside the prefix is not reachable with\n%s", text)
	}
}
