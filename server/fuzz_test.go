package server

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/seed"
	"virtrigaud-provider-truenas/server/spec"
)

// blames checks that the error of a request has a code for wrong requests, and can be sent.
func blames(t *testing.T, err error) {
	t.Helper()
	st := status.Convert(toStatus(nil, err))
	switch st.Code() {
	case codes.InvalidArgument, codes.FailedPrecondition, codes.Unimplemented, codes.OutOfRange, codes.PermissionDenied:
	default:
		t.Errorf("a request is refused with %v %q", st.Code(), st.Message())
	}
	if len(st.Message()) == 0 {
		t.Error("a request is refused with an empty message")
	}
}

// FuzzSpec parses the JSON fields of a Create.
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
		macs := make([]string, len(s.Networks))
		for i := range macs {
			macs[i] = spec.NICMAC(id, i)
		}
		if made := seed.New(s, id, macs); made != nil {
			if _, err := made.ISO(); err != nil {
				t.Error(err)
			}
		}
		if m, ok := spec.ParseMark(spec.Mark{Provider: "test", Name: s.Name, Tags: s.Tags}.Describe()); !ok || m.Name != s.Name {
			t.Errorf("the mark of %q is read as %+v", s.Name, m)
		}
	})
}

// FuzzDesired parses the JSON of a Reconfigure, and that of ImagePrepare.
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
	})
}

// FuzzMark parses descriptions and tasks that another client may have written.
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

// FuzzUserData checks user data; a refusal never quotes it, since it may hold secrets.
func FuzzUserData(f *testing.F) {
	for _, text := range []string{"#cloud-config\npassword: hunter22222222222222\n", "I2Nsb3VkLWNvbmZpZwo=", `{"ignition": {}}`, "version: v1alpha1\nmachine: {}\n", "\xef\xbb\xbf#!"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		err := spec.CheckUserData(text)
		if err != nil {
			blames(t, err)
		}
		for _, word := range strings.Fields(string(text)) {
			if len(word) > 12 && strings.Contains(fmt.Sprint(err), word) && !strings.Contains(spec.CloudConfig, word) {
				t.Errorf("%q is quoted in %v", word, err)
			}
		}
		_ = spec.UserDataWarning(text)
	})
}
