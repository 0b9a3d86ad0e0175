package diskio

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
	sdkerrors "github.com/projectbeskar/virtrigaud/sdk/provider/errors"

	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/server/landing"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// refusedWith compares an error with a code and a beginning; an empty one expects no error.
func refusedWith(t *testing.T, err error, code codes.Code, says string) {
	t.Helper()
	refused := (*sdkerrors.ProviderError)(nil)
	switch {
	case says == "" && err != nil:
		t.Errorf("got %v", err)
	case says != "" && (!errors.As(err, &refused) || refused.Code != code || !strings.HasPrefix(refused.Message, says)):
		t.Errorf("got %v, want %v %s", err, code, says)
	}
}

// TestStagedPlaces: the backend of a request has to be that of its URL, and only what S3 needs is taken of the options.
func TestStagedPlaces(t *testing.T) {
	for _, tt := range []struct {
		name, url, backend, mode, options string
		field                             string
	}{
		{"S3", "s3://bucket/key", "S3", "", "", ""},
		{"a claim", "pvc://claim/path", "pvc", "auto", `{"Backend":"PVC"}`, ""},
		{"the mode that auto selects", "s3://bucket/key", "", "relay", "", ""},
		{"http", "http://host/key", "http", "", "", ""},
		{"https", "HTTPS://host/key", "http", "", `{"backend":"http"}`, ""},
		{"the scheme as backend", "https://host/key", "https", "", "", "backend_type"},
		{"another backend", "s3://bucket/key", "pvc", "", "", "backend_type"},
		{"another backend in the options", "s3://bucket/key", "", "", `{"Backend":"nfs"}`, "storage_options_json.backend"},
		{"another mode", "s3://bucket/key", "", "direct", "", "transfer_mode"},
		{"no scheme", "//bucket/key", "", "", "", "source_url"},
		{"no host", "s3:///key", "", "", "", "source_url"},
		{"no URL", "%zz", "", "", "", "source_url"},
		{"an option that is not known", "s3://bucket/key", "", "", `{"Colour":"red"}`, "storage_options_json.Colour"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req := &providerv1.ImportDiskRequest{BackendType: tt.backend, TransferMode: tt.mode, StorageOptionsJson: tt.options}
			got, err := parseStaged("source_url", tt.url, req)
			if tt.field != "" {
				tt.field += ": "
			}
			refusedWith(t, err, codes.InvalidArgument, tt.field)
			if err == nil && got.url != tt.url {
				t.Errorf("the URL is %s", got.url)
			}
		})
	}
	got, err := parseStaged("source_url", "s3://bucket/key", &providerv1.ImportDiskRequest{StorageOptionsJson: `{"Endpoint":"http://minio:9000","Region":"eu","UsePathStyle":true,"Bucket":"bucket","Prefix":"p","Server":"s","Export":"e","Path":"p","UID":1,"GID":2}`})
	if want := (disk.S3{Endpoint: "http://minio:9000", Region: "eu", PathStyle: true}); err != nil || !reflect.DeepEqual(got.s3, want) {
		t.Errorf("got %+v, %v", got.s3, err)
	}
}

// TestStagingCredentials takes the keys of the manager's Secret; what else the Secret holds is ignored, and half a key is refused.
func TestStagingCredentials(t *testing.T) {
	got, err := parseStagingCredentials(map[string]string{"accessKeyID": "a", "secretAccessKey": "b", "sessionToken": "c", "username": "d", "password": "e", "token": "f", "other": "g"})
	if want := (disk.Credentials{AccessKeyID: "a", SecretAccessKey: "b", SessionToken: "c", Username: "d", Password: "e", Token: "f"}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, half := range []map[string]string{{"accessKeyID": "a"}, {"secretAccessKey": "b"}} {
		_, err := parseStagingCredentials(half)
		refusedWith(t, err, codes.InvalidArgument, "credentials: ")
	}
	if _, err := parseStagingCredentials(nil); err != nil {
		t.Errorf("no credentials: %v", err)
	}
}

// TestStagedFormats: a format is optional, and in any case of letters.
func TestStagedFormats(t *testing.T) {
	for format, want := range map[string]string{"": "", "QCOW2": "qcow2", "raw": "raw"} {
		if got, err := parseStagedFormat(format, ExportFormats); err != nil || got != want {
			t.Errorf("%q: got %q, %v", format, got, err)
		}
	}
	_, err := parseStagedFormat("vdi", ExportFormats)
	refusedWith(t, err, codes.InvalidArgument, `format: "vdi"; allowed are qcow2, vmdk, raw`)
}

// TestLasting: the part of a URL that identifies a staged disk has no secrets, and two services are two places.
func TestLasting(t *testing.T) {
	for _, tt := range []struct {
		at   stagedAt
		want string
	}{
		{stagedAt{url: "https://me:secret@host/a?sig=secret#x"}, "https://host/a"},
		{stagedAt{url: "s3://bucket/a", s3: disk.S3{Endpoint: "http://minio"}}, "s3://bucket/a at http://minio"},
		{stagedAt{url: "%zz"}, ""},
	} {
		if got := tt.at.lasting(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

// newMover parses requests and makes no calls.
func newMover() *Mover {
	return New(nil, Config{Provider: "p", Layout: spec.Layout{Dataset: "tank/virtrigaud"}})
}

// TestParseImport reads where a disk goes, for whom, and the checksum with or without its type.
func TestParseImport(t *testing.T) {
	request := func(change func(*providerv1.ImportDiskRequest)) *providerv1.ImportDiskRequest {
		req := &providerv1.ImportDiskRequest{SourceUrl: "s3://bucket/key", TargetName: "web-1"}
		change(req)
		return req
	}
	for _, tt := range []struct {
		name, field string
		change      func(*providerv1.ImportDiskRequest)
		want        string
	}{
		{"plain", "", func(*providerv1.ImportDiskRequest) {}, "tank/virtrigaud/imports/web_1 tank/virtrigaud/staging/import-web_1 owner= sum="},
		{"another pool", "", func(r *providerv1.ImportDiskRequest) { r.StorageHint = "flash" }, "flash/virtrigaud/imports/web_1 flash/virtrigaud/staging/import-web_1 owner= sum="},
		{"an owner", "", func(r *providerv1.ImportDiskRequest) {
			r.TargetVm = &providerv1.ObjectIdentity{Uid: "uid-1", Namespace: "team"}
		}, "tank/virtrigaud/imports/teamZZweb_1 tank/virtrigaud/staging/import-teamZZweb_1 owner=uid-1 sum="},
		{"a checksum", "", func(r *providerv1.ImportDiskRequest) { r.VerifyChecksum, r.ExpectedChecksum = true, "ABC" }, "tank/virtrigaud/imports/web_1 tank/virtrigaud/staging/import-web_1 owner= sum=abc"},
		{"a checksum with its type", "", func(r *providerv1.ImportDiskRequest) { r.VerifyChecksum, r.ExpectedChecksum = true, "sha256:ABC" }, "tank/virtrigaud/imports/web_1 tank/virtrigaud/staging/import-web_1 owner= sum=abc"},
		{"a checksum that is not to be verified", "", func(r *providerv1.ImportDiskRequest) { r.ExpectedChecksum = "abc" }, "tank/virtrigaud/imports/web_1 tank/virtrigaud/staging/import-web_1 owner= sum="},
		{"no name", "target_name", func(r *providerv1.ImportDiskRequest) { r.TargetName = "" }, ""},
		{"no pool's name", "storage_hint", func(r *providerv1.ImportDiskRequest) { r.StorageHint = "a/b" }, ""},
		{"no format", "format", func(r *providerv1.ImportDiskRequest) { r.Format = "zip" }, ""},
		{"no URL", "source_url", func(r *providerv1.ImportDiskRequest) { r.SourceUrl = "key" }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			i, err := newMover().parseImport(request(tt.change))
			if tt.field != "" {
				refusedWith(t, err, codes.InvalidArgument, tt.field+": ")
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(i.Dataset, " ", i.Staging, " owner=", i.owner, " sum=", i.source.Checksum); got != tt.want || i.origin != "s3://bucket/key" {
				t.Errorf("got %s of %s, want %s", got, i.origin, tt.want)
			}
			marks := i.Marks()
			if marks[spec.PropProvider] != "p" || marks[spec.PropName] != "web-1" || marks[spec.PropOwner] != i.owner {
				t.Errorf("marked with %v", marks)
			}
			if _, owned := marks[spec.PropOwner]; owned != (i.owner != "") {
				t.Errorf("marked with %v", marks)
			}
		})
	}
}

// TestAdmitAnImport: a dataset of another provider, of another name or for another VM is neither used nor removed.
func TestAdmitAnImport(t *testing.T) {
	i, err := newMover().parseImport(&providerv1.ImportDiskRequest{SourceUrl: "s3://bucket/key", TargetName: "web-1", TargetVm: &providerv1.ObjectIdentity{Uid: "uid-1"}})
	if err != nil {
		t.Fatal(err)
	}
	unowned := *i
	unowned.owner = ""
	there := func(provider, name, owner string) landing.State {
		return landing.State{Pool: &truenas.Dataset{}, Dataset: &truenas.Dataset{LocalUserProperties: map[string]string{spec.PropProvider: provider, spec.PropName: name, spec.PropOwner: owner}}}
	}
	for _, tt := range []struct {
		name string
		i    *diskImport
		st   landing.State
		code codes.Code
		says string
	}{
		{"no pool", i, landing.State{}, codes.FailedPrecondition, `storage_hint: the NAS has no pool "tank"`},
		{"no dataset", i, landing.State{Pool: &truenas.Dataset{}}, codes.OK, ""},
		{"its own", i, there("p", "web-1", "uid-1"), codes.OK, ""},
		{"without an owner", i, there("p", "web-1", ""), codes.OK, ""},
		{"an owner that the request does not give", &unowned, there("p", "web-1", "uid-2"), codes.OK, ""},
		{"another owner's", i, there("p", "web-1", "uid-2"), codes.AlreadyExists, "target_name: tank/virtrigaud/imports/web_1 was imported for another virtual machine"},
		{"another provider's", i, there("q", "web-1", "uid-1"), codes.AlreadyExists, "target_name: dataset tank/virtrigaud/imports/web_1 exists"},
		{"of another name", i, there("p", "web_1", "uid-1"), codes.AlreadyExists, "target_name: dataset tank/virtrigaud/imports/web_1 exists"},
	} {
		t.Run(tt.name, func(t *testing.T) { refusedWith(t, tt.i.admit(tt.st), tt.code, tt.says) })
	}
}

// TestDoneImports: a finished import is recognized by its checksum and its source alone.
func TestDoneImports(t *testing.T) {
	volume := func(source, sum string) *truenas.Dataset {
		return &truenas.Dataset{LocalUserProperties: map[string]string{spec.PropSource: source, spec.PropChecksum: sum}}
	}
	i := &diskImport{origin: "s3://bucket/key", source: disk.Source{Checksum: "ab"}}
	unverified := &diskImport{origin: "s3://bucket/key"}
	for _, tt := range []struct {
		name       string
		i          *diskImport
		st         landing.State
		done, same bool
	}{
		{"the same", i, landing.State{Ready: true, Volume: volume("s3://bucket/key", "sha256:ab")}, true, true},
		{"not ready", i, landing.State{Volume: volume("s3://bucket/key", "sha256:ab")}, false, true},
		{"another checksum", i, landing.State{Ready: true, Volume: volume("s3://bucket/key", "sha256:cd")}, false, false},
		{"a checksum of another type", i, landing.State{Ready: true, Volume: volume("s3://bucket/key", "md5:ab")}, false, false},
		{"another source", i, landing.State{Ready: true, Volume: volume("s3://bucket/other", "sha256:ab")}, false, false},
		{"no checksum in the request", unverified, landing.State{Ready: true, Volume: volume("s3://bucket/key", "sha256:ab")}, false, true},
	} {
		if done, same := tt.i.Done(tt.st), tt.i.same(tt.st); done != tt.done || same != tt.same {
			t.Errorf("%s: done %t, same %t", tt.name, done, same)
		}
	}
}

// TestDiskOf: a disk is found by its number, its name, its path, or as the root disk.
func TestDiskOf(t *testing.T) {
	m := &Mover{layout: spec.Layout{Dataset: "tank/virtrigaud"}}
	vm := truenas.VM{Name: "web", Devices: []truenas.Device{
		{ID: 1, Order: 1000, Attributes: truenas.CDROM("/dev/zvol/tank/iso")},
		{ID: 2, Order: 1002, Attributes: truenas.Disk("/dev/zvol/tank/a/my+data")},
		{ID: 3, Order: 1001, Attributes: truenas.Disk("/dev/zvol/tank/a/root")},
	}}
	for id, want := range map[string]int64{"": 3, "2": 2, "3": 3, "root": 3, "my data": 2, "tank/a/my data": 2, "/dev/zvol/tank/a/my+data": 2, "1": 0, "data": 0, "iso": 0, "4": 0} {
		volume, device, err := m.diskOf(vm, id)
		if device.ID != want || (err == nil) != (want != 0) || (volume == "") != (want == 0) || err != nil && !errors.Is(err, truenas.ErrNotFound) {
			t.Errorf("%q: got %s, device %d, %v", id, volume, device.ID, err)
		}
	}
	_, _, err := m.diskOf(truenas.VM{Name: "web"}, "")
	refusedWith(t, err, codes.FailedPrecondition, `VM "web" has no disks`)
	if !slices.Contains(ImportFormats, ExportFormats[0]) {
		t.Error("an export cannot be imported")
	}
}
