package server

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"sigs.k8s.io/yaml"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/spec"
)

// blames holds that an error of a request is the request's, and can be sent.
func blames(t *testing.T, err error) {
	t.Helper()
	st := status.Convert(toStatus(nil, err))
	switch st.Code() {
	case codes.InvalidArgument, codes.FailedPrecondition, codes.Unimplemented, codes.OutOfRange, codes.PermissionDenied:
	default:
		t.Errorf("a request is refused with %v %q", st.Code(), st.Message())
	}
	if len(st.Message()) == 0 {
		t.Error("a request is refused without a word")
	}
}

// FuzzSpec reads all of the JSON of a Create.
func FuzzSpec(f *testing.F) {
	f.Add("web-1", `{"CPU":2,"MemoryMiB":2048,"Firmware":"UEFI","DiskDefaults":{"Type":"thin","SizeGiB":20},"ExtraConfig":{"k":"v"},"SecurityProfile":{"SecureBoot":true}}`,
		`{"TemplateName":"","Path":"tank/templates/gold@v1","URL":"","Format":"qcow2","Checksum":"","ChecksumType":"sha256"}`,
		`[{"Name":"eth0","Bridge":"br0","VLAN":20,"Model":"virtio","StaticIP":"192.0.2.10","Prefix":24,"Gateway":"192.0.2.1","DNS":"192.0.2.53,192.0.2.54","PCISlotNumber":null}]`,
		`[{"SizeGiB":5,"Type":"thin","Name":"data"}]`, `{"Datastore":"tank"}`, "instance-id: i-1\n")
	f.Add("vm.with/odd", `{"cpu":"2"}`, `null`, `[]`, `[{}]`, ``, "[")
	f.Fuzz(func(t *testing.T, name, class, image, networks, disks, placement, meta string) {
		s, err := spec.Parse(&providerv1.CreateRequest{
			Name: name, ClassJson: class, ImageJson: image, NetworksJson: networks, DisksJson: disks, PlacementJson: placement, MetaData: []byte(meta), UserData: []byte("#cloud-config\n"),
		})
		if err != nil {
			blames(t, err)
			return
		}
		id := spec.VMID("test", "", "", s.Name)
		nics := make([]nic, len(s.Networks))
		for i := range nics {
			nics[i].mac = spec.NICMAC(id, i)
		}
		readable(t, newSeed(s, id, nics))
		if m, ok := spec.ParseMark(spec.Mark{Provider: "test", Name: s.Name, Tags: s.Tags}.Describe()); !ok || m.Name != s.Name {
			t.Errorf("the mark of %q is read as %+v", s.Name, m)
		}
	})
}

// FuzzDesired reads the JSON of a Reconfigure, and that of ImagePrepare.
func FuzzDesired(f *testing.F) {
	f.Add(`{"Name":"web-1","Class":{"CPU":4,"MemoryMiB":4096,"Firmware":"UEFI"},"Image":{},"Networks":[{"Bridge":"br0"}],"Disks":null,"UserData":{"CloudInit":{"Inline":"x"}},"Tags":["a"]}`)
	f.Add(`{"source":{"libvirt":{"url":"https://example.com/a.qcow2","checksum":"00","checksumType":"md5"},"vsphere":{"x":1}},"prepare":{"onMissing":"Import","timeout":"30m0s","retries":3}}`)
	f.Add(`{"source":{"registry":{"image":"oci://a/b:c"}},"prepare":{"validateChecksum":false,"retries":-1}}`)
	f.Add(`{"source":{"http":{"url":"x","timeout":"1e9h"}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := parseDesired(text); err != nil {
			blames(t, err)
		}
		if _, err := spec.ParseImageJob(text); err != nil {
			blames(t, err)
		}
		if _, err := spec.ParseImage(text); err != nil {
			blames(t, err)
		}
		req := &providerv1.ImportDiskRequest{StorageOptionsJson: text}
		if _, err := parseStaged("source_url", text, req); err != nil {
			blames(t, err)
		}
	})
}

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
		seed := newSeed(s, "id-1", []nic{{mac: "02:00:00:00:00:01"}, {mac: "02:00:00:00:00:02"}})
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
func readable(t *testing.T, s *seed) map[string]string {
	t.Helper()
	if s == nil {
		return nil
	}
	image, err := s.iso()
	if err != nil {
		t.Fatal(err)
	}
	files := readISO(t, image)
	for _, name := range []string{"network-config", "meta-data"} {
		var m map[string]any
		if err := yaml.Unmarshal([]byte(files[name]), &m); err != nil && utf8.ValidString(files[name]) {
			t.Errorf("%s is no YAML: %v\n%s", name, err, files[name])
		}
	}
	if len(files) != len(s.files) {
		t.Errorf("the image has %d files, not %d", len(files), len(s.files))
	}
	return files
}

// FuzzSeedReading reads a seed's user data out of whatever the NAS says is the seed, as a clone does.
func FuzzSeedReading(f *testing.F) {
	for _, files := range []map[string][]byte{{"user-data": []byte("#cloud-config\n"), "meta-data": []byte("a: b\n")}, {}, {"user-data": bytes.Repeat([]byte("x"), 5000)}} {
		image, err := isoImage(seedLabel, files)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(image[isoSystem*isoSector:])
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		image := append(make([]byte, isoSystem*isoSector), content...)
		data, err := isoFile(image, "user-data")
		if err == nil && len(data) > len(image) {
			t.Errorf("%d bytes of user data in an image of %d", len(data), len(image))
		}
	})
}

// FuzzMark reads descriptions and tasks that somebody else may have written.
func FuzzMark(f *testing.F) {
	f.Add(spec.Mark{Provider: "test", Owner: "uid", Name: "web-1", Tags: []string{"a", "b"}}.Describe())
	f.Add("web [virtrigaud:provider=a&provider=b&name=%zz]")
	f.Add("vm.stop/12/3")
	f.Add("image/tank/00")
	f.Fuzz(func(t *testing.T, text string) {
		if m, ok := spec.ParseMark(text); ok {
			if again, ok := spec.ParseMark(m.Describe()); !ok || again.Provider != m.Provider || again.Name != m.Name || again.Owner != m.Owner || strings.Join(again.Tags, "\x00") != strings.Join(m.Tags, "\x00") {
				t.Errorf("%q is read as %+v and then as %+v", text, m, again)
			}
		}
		if task, ok := parseTask(text); ok && taskRef(task.method, task.job, task.vm).GetId() == "" {
			t.Errorf("%q", text)
		}
	})
}
