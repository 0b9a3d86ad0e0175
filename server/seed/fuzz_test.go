package seed

import (
	"bytes"
	"net/netip"
	"testing"
	"unicode/utf8"

	"sigs.k8s.io/yaml"

	"virtrigaud-provider-truenas/server/spec"
)

// FuzzSeed renders user data, meta data and addresses, and reads them back as a guest does.
func FuzzSeed(f *testing.F) {
	f.Add("web-1", []byte("#cloud-config\nhostname: x\n"), []byte("instance-id: i-1\npublic-keys: []\n"), "192.0.2.10/24", "192.0.2.1", "192.0.2.53")
	f.Add("web-2", []byte("{}"), []byte("{instance-id: i-1, public-keys: [a]}"), "192.0.2.10/24", "192.0.2.1", "")
	f.Add("web-3", []byte("#!/bin/sh\n"), []byte("---\n  a: &x {b: 012}\n  c: *x\n...\n"), "", "", "")
	f.Add("a\"b: c", []byte{0, 255}, []byte("local-hostname: h"), "2001:db8::10/64", "2001:db8::1", "2001:db8::53")
	f.Fuzz(func(t *testing.T, name string, user, meta []byte, address, gateway, dns string) {
		s := spec.VM{Name: name, UserData: user, MetaData: meta}
		if spec.CheckMetaData(meta) != nil || spec.CheckName("name", name) != nil {
			return
		}
		n := spec.Network{}
		n.Address, _ = netip.ParsePrefix(address)
		n.Gateway, _ = netip.ParseAddr(gateway)
		if addr, err := netip.ParseAddr(dns); err == nil {
			n.DNS = []netip.Addr{addr}
		}
		if addr := n.Address.Addr(); addr.Zone() != "" || n.Gateway.Zone() != "" || len(n.DNS) > 0 && n.DNS[0].Zone() != "" {
			return // These are refused.
		}
		s.Networks = []spec.Network{n, {}}
		seed := New(s, "id-1", []string{"02:00:00:00:00:01", "02:00:00:00:00:02"})
		if seed == nil {
			return
		}
		files := readable(t, seed)
		if len(user) > 0 && files["user-data"] != string(user) {
			t.Errorf("user data %q became %q", user, files["user-data"])
		}
		for _, entry := range []string{"instance-id", "local-hostname"} {
			var m map[string]any
			if err := yaml.Unmarshal([]byte(files["meta-data"]), &m); err != nil || m[entry] == nil && !bytes.Contains(meta, []byte(entry)) {
				t.Errorf("meta data has no %s: %q, %v", entry, files["meta-data"], err)
			}
		}
	})
}

// readable makes a seed's image and reads it.
func readable(t *testing.T, s *Seed) map[string]string {
	t.Helper()
	if s == nil {
		return nil
	}
	image, err := s.ISO()
	if err != nil {
		t.Fatal(err)
	}
	files := readISO(t, image)
	for _, name := range []string{"network-config", "meta-data"} {
		var m map[string]any
		if err := yaml.Unmarshal([]byte(files[name]), &m); err != nil && utf8.ValidString(files[name]) {
			t.Errorf("%s is not YAML: %v\n%s", name, err, files[name])
		}
	}
	if len(files) != len(s.files) {
		t.Errorf("the image has %d files, not %d", len(files), len(s.files))
	}
	return files
}

// FuzzSeedReading reads user data from any input, as a clone reads the seed of its source.
func FuzzSeedReading(f *testing.F) {
	for _, files := range []map[string][]byte{{"user-data": []byte("#cloud-config\n"), "meta-data": []byte("a: b\n")}, {}, {"user-data": bytes.Repeat([]byte("x"), 5000)}} {
		image, err := isoImage(label, files)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(image[isoSystem*isoSector:])
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		image := append(make([]byte, isoSystem*isoSector), content...)
		data, err := ReadFile(image, "user-data")
		if err == nil && len(data) > len(image) {
			t.Errorf("%d bytes of user data in an image of %d", len(data), len(image))
		}
	})
}
