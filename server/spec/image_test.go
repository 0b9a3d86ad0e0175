package spec

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/disk"
)

// TestImageJobs: the policy of an image has bounds, and the source is exactly one.
func TestImageJobs(t *testing.T) {
	const url = `"URL":"https://example.com/x.raw"`
	prepare := func(policy string) string {
		return `{"source":{"libvirt":{"url":"https://example.com/x.raw"}},"prepare":{` + policy + `}}`
	}
	for _, tt := range []struct {
		name, text, field string
		want              ImageJob // of what is accepted: the fields other than the credentials
	}{
		{"a URL", `{` + url + `}`, "", ImageJob{Source: disk.Source{URL: "https://example.com/x.raw"}, Timeout: DefaultImageTimeout, Retries: DefaultImageRetries}},
		{"a path", `{"Path":"tank/x@y"}`, "", ImageJob{Path: "tank/x@y", Timeout: DefaultImageTimeout, Retries: DefaultImageRetries}},
		{"an image of a registry", `{"source":{"registry":{"image":"registry.example/disk:1"}}}`, "", ImageJob{Source: disk.Source{URL: "oci://registry.example/disk:1"}, Timeout: DefaultImageTimeout, Retries: DefaultImageRetries}},
		{"with a scheme", `{"source":{"registry":{"image":"oci://registry.example/disk:1"}}}`, "", ImageJob{Source: disk.Source{URL: "oci://registry.example/disk:1"}, Timeout: DefaultImageTimeout, Retries: DefaultImageRetries}},
		{"an alias of a URL", `{"Path":"/s3/bucket/key"}`, "", ImageJob{Source: disk.Source{URL: "s3://bucket/key"}, Timeout: DefaultImageTimeout, Retries: DefaultImageRetries}},
		{"a file on the NAS", `{"Path":"/mnt/tank/x.qcow2"}`, "", ImageJob{Source: disk.Source{URL: "nas:/mnt/tank/x.qcow2"}, Timeout: DefaultImageTimeout, Retries: DefaultImageRetries}},
		{"an ISO on the NAS", `{"Path":"/mnt/tank/x.ISO"}`, "", ImageJob{Path: "/mnt/tank/x.ISO", Timeout: DefaultImageTimeout, Retries: DefaultImageRetries}},
		{"no retries", prepare(`"retries":0`), "", ImageJob{Source: disk.Source{URL: "https://example.com/x.raw"}, Timeout: DefaultImageTimeout}},
		{"10 retries", prepare(`"retries":10`), "", ImageJob{Source: disk.Source{URL: "https://example.com/x.raw"}, Timeout: DefaultImageTimeout, Retries: 10}},
		{"11 retries", prepare(`"retries":11`), "image_json.prepare.retries", ImageJob{}},
		{"retries below zero", prepare(`"retries":-1`), "image_json.prepare.retries", ImageJob{}},
		{"a day", prepare(`"timeout":"24h"`), "", ImageJob{Source: disk.Source{URL: "https://example.com/x.raw"}, Timeout: 24 * time.Hour, Retries: DefaultImageRetries}},
		{"more than a day", prepare(`"timeout":"24h0m1s"`), "image_json.prepare.timeout", ImageJob{}},
		{"no time", prepare(`"timeout":"0s"`), "image_json.prepare.timeout", ImageJob{}},
		{"a moment", prepare(`"timeout":"1ns"`), "", ImageJob{Source: disk.Source{URL: "https://example.com/x.raw"}, Timeout: 1, Retries: DefaultImageRetries}},
		{"a time in words", prepare(`"timeout":"soon"`), "image_json.prepare.timeout", ImageJob{}},
		{"a time of the source", `{"source":{"http":{"url":"https://example.com/x.raw","timeout":"1h"}}}`, "", ImageJob{Source: disk.Source{URL: "https://example.com/x.raw"}, Timeout: time.Hour, Retries: DefaultImageRetries}},
		{"a wrong time of the source", `{"source":{"http":{"url":"https://example.com/x.raw","timeout":"-1h"}}}`, "image_json.source.http.timeout", ImageJob{}},
		{"an image that has to be there", prepare(`"onMissing":"Fail"`), "", ImageJob{Source: disk.Source{URL: "https://example.com/x.raw"}, Timeout: DefaultImageTimeout, Retries: DefaultImageRetries, Absent: true}},
		{"an image that another one prepares", prepare(`"onMissing":"Wait"`), "", ImageJob{Source: disk.Source{URL: "https://example.com/x.raw"}, Timeout: DefaultImageTimeout, Retries: DefaultImageRetries, Absent: true}},
		{"an image that may be missing", prepare(`"onMissing":"Import","force":true`), "", ImageJob{Source: disk.Source{URL: "https://example.com/x.raw"}, Timeout: DefaultImageTimeout, Retries: DefaultImageRetries, Force: true}},
		{"another policy", prepare(`"onMissing":"Hope"`), "image_json.prepare.onMissing", ImageJob{}},
		{"no verification", `{"source":{"libvirt":{"url":"https://example.com/x.raw","checksum":"11","checksumType":"md5"}},"prepare":{"validateChecksum":false}}`, "", ImageJob{Source: disk.Source{URL: "https://example.com/x.raw"}, Timeout: DefaultImageTimeout, Retries: DefaultImageRetries}},
		{"verification", `{"source":{"libvirt":{"url":"https://example.com/x.raw","checksum":"11","checksumType":"md5"}},"prepare":{"validateChecksum":true}}`, "", ImageJob{Source: disk.Source{URL: "https://example.com/x.raw", Checksum: "11", ChecksumType: "md5"}, Timeout: DefaultImageTimeout, Retries: DefaultImageRetries}},
		{"a format that is required", `{` + url + `,"Format":"vmdk"}`, "", ImageJob{Source: disk.Source{URL: "https://example.com/x.raw", Format: "vmdk"}, Timeout: DefaultImageTimeout, Retries: DefaultImageRetries}},
		{"the manager's default format", `{` + url + `,"Format":"QCOW2"}`, "", ImageJob{Source: disk.Source{URL: "https://example.com/x.raw"}, Timeout: DefaultImageTimeout, Retries: DefaultImageRetries}},
		{"a template", `{` + url + `,"Format":"template"}`, "", ImageJob{Source: disk.Source{URL: "https://example.com/x.raw"}, Timeout: DefaultImageTimeout, Retries: DefaultImageRetries}},
		{"an unknown format", `{` + url + `,"Format":"zip2"}`, "image_json.format", ImageJob{}},
		{"a template by name", `{"TemplateName":"ubuntu"}`, "image_json.TemplateName", ImageJob{}},
		{"no source", `{"source":{}}`, "image_json.source", ImageJob{}},
		{"a source of another hypervisor", `{"source":{"vsphere":{"templateName":"x"}}}`, "image_json.source", ImageJob{}},
		{"an empty source", `{"source":{"libvirt":{}}}`, "image_json.source.libvirt", ImageJob{}},
		{"two sources in one", `{"source":{"libvirt":{"url":"https://example.com/x.raw","path":"tank/x"}}}`, "image_json.source.libvirt", ImageJob{}},
		{"headers of another source", `{"source":{"libvirt":{"url":"https://example.com/x.raw","headers":{"X-A":"b"}}}}`, "image_json.source.libvirt.headers", ImageJob{}},
		{"headers that cannot be sent", `{"source":{"http":{"url":"https://example.com/x.raw","headers":{"X A":"b"}}}}`, "image_json.source.http.headers", ImageJob{}},
		{"secrets", `{"source":{"http":{"url":"https://example.com/x.raw","authentication":{"secretRef":{"name":"a"}}}}}`, "image_json.source.http.authentication", ImageJob{}},
		{"no secrets", `{"source":{"http":{"url":"https://example.com/x.raw","authentication":{"secretRef":{"name":""}}}}}`, "", ImageJob{Source: disk.Source{URL: "https://example.com/x.raw"}, Timeout: DefaultImageTimeout, Retries: DefaultImageRetries}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			job, err := ParseImageJob(tt.text)
			refusedFor(t, err, tt.field)
			if err == nil && !reflect.DeepEqual(job, tt.want) {
				t.Errorf("got %+v, want %+v", job, tt.want)
			}
		})
	}
}

// TestPublicSource: the URL of an image is recorded only if it cannot hold a secret.
func TestPublicSource(t *testing.T) {
	const url = "https://example.com/x.raw"
	for name, tt := range map[string]struct {
		job  ImageJob
		want string
	}{
		"plain":                {ImageJob{Source: disk.Source{URL: url, Checksum: "11"}}, url},
		"a user":               {ImageJob{Source: disk.Source{URL: "https://me@example.com/x.raw"}}, ""},
		"a signature":          {ImageJob{Source: disk.Source{URL: url + "?sig=1"}}, ""},
		"not a URL":            {ImageJob{Source: disk.Source{URL: "https://example.com/%zz"}}, ""},
		"headers":              {ImageJob{Source: disk.Source{URL: url, Credentials: disk.Credentials{Headers: map[string]string{"A": "b"}}}}, ""},
		"a signed checksum":    {ImageJob{Source: disk.Source{URL: url, Checksum: "https://example.com/SUMS?sig=1"}}, ""},
		"a published checksum": {ImageJob{Source: disk.Source{URL: url, Checksum: "https://example.com/SUMS"}}, url},
	} {
		if got := tt.job.PublicSource(); got != tt.want {
			t.Errorf("%s: got %q", name, got)
		}
	}
	// The key of a file on the NAS depends on the file and on the checksum, in any case of letters.
	keys := map[string]bool{}
	for _, source := range []disk.Source{{URL: "nas:/mnt/a"}, {URL: "nas:/mnt/b"}, {URL: "nas:/mnt/a", Checksum: "AB"}, {URL: "nas:/mnt/a", Checksum: "ab"}, {URL: url}} {
		key, err := ImageKey(source)
		if err != nil || len(key) != 40 {
			t.Errorf("%+v: key %q, %v", source, key, err)
		}
		keys[key] = true
	}
	if len(keys) != 4 {
		t.Errorf("%d keys", len(keys))
	}
}

// TestParseImage distinguishes what has to be fetched, cloned or attached.
func TestParseImage(t *testing.T) {
	for _, tt := range []struct{ text, field, want string }{
		{``, "", "none"}, {`{}`, "", "none"},
		{`{"Path":"tank/gold@v1"}`, "", "clone tank/gold@v1 by path"},
		{`{"Path":"/dev/zvol/tank/my+gold@v1"}`, "", "clone tank/my gold@v1 by path"},
		{`{"Path":"tank/old/disk0"}`, "", "attach tank/old/disk0 by path"},
		{`{"Path":"tank/old/disk0","ImportedDisk":true}`, "", "attach tank/old/disk0 by path, of ImagePrepare"},
		{`{"Path":"tank/old/disk0","ImportedDisk":false}`, "", "attach tank/old/disk0 by path, of ImagePrepare, not imported"},
		{`{"Path":"/dev/zvol/tank/old/disk0","ImportedDisk":false}`, "", "attach tank/old/disk0 by path, not imported"},
		{`{"Path":"/mnt/tank/x.iso"}`, "", "installer /mnt/tank/x.iso"},
		{`{"Path":"/mnt/tank/x.raw"}`, "", "fetch nas:/mnt/tank/x.raw"},
		{`{"Path":"/oci://registry.example/disk:1"}`, "", "fetch oci://registry.example/disk:1"},
		{`{"Path":"s3://bucket/key"}`, "", "fetch s3://bucket/key"},
		{`{"URL":"https://example.com/x.raw"}`, "", "fetch https://example.com/x.raw"},
		{`{"Path":"tank/gold@v1","URL":"https://example.com/x.raw"}`, "image_json", ""},
		{`{"TemplateName":"a"}`, "image_json.TemplateName", ""}, {`{"Format":"template"}`, "image_json.Path", ""}, {`{"Checksum":"11"}`, "image_json.Path", ""},
		{`{"Format":"zip2"}`, "image_json.Format", ""},
		{`{"Path":"tank"}`, "image_json.Path", ""}, {`{"Path":"tank/a@"}`, "image_json.Path", ""}, {`{"Path":"tank/a@b/c@d"}`, "image_json.Path", ""},
		{`{"Path":"tank/a//b"}`, "image_json.Path", ""}, {`{"Path":"tank/./b"}`, "image_json.Path", ""}, {`{"Path":"tank/../b"}`, "image_json.Path", ""}, {`{"Path":"tank/ä"}`, "image_json.Path", ""},
		{`{"Path":"tank/` + strings.Repeat("x", 250) + `"}`, "", "attach tank/" + strings.Repeat("x", 250) + " by path"},
		{`{"Path":"tank/` + strings.Repeat("x", 251) + `"}`, "image_json.Path", ""},
		{`{"Path":"p/d"}`, "", "attach p/d by path"},
	} {
		ref, err := ParseImage(tt.text)
		t.Run(fmt.Sprintf("%.60s", tt.text), func(t *testing.T) { refusedFor(t, err, tt.field) })
		if err != nil {
			continue
		}
		got := map[ImageKind]string{ImageNone: "none", ImageClone: "clone ", ImageAttach: "attach ", ImageURL: "fetch ", ImageInstaller: "installer "}[ref.Kind] + ref.String() + ref.File + ref.Job.Source.URL
		if ref.ByPath() {
			got += " by path"
		}
		if ref.FromPrepare {
			got += ", of ImagePrepare"
		}
		if ref.NotImported {
			got += ", not imported"
		}
		if got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.text, got, tt.want)
		}
	}
	if (ImageRef{Kind: ImageClone, Prepared: &Image{}}).ByPath() {
		t.Error("a prepared image counts as given by its path")
	}
	for name, want := range map[string]bool{"tank": true, "my tank": true, " tank": false, "tank ": false, "tank/a": false, "": false, "..": false} {
		if ValidPool(name) != want {
			t.Errorf("pool %q: %t", name, !want)
		}
	}
}

// TestImageIdentities: an artifact is named by its VMImage and the digest of its source, and nothing else may take its place.
func TestImageIdentities(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0", 64)
	request := func(change func(*providerv1.ImagePrepareRequest)) *providerv1.ImagePrepareRequest {
		req := &providerv1.ImagePrepareRequest{SourceDigest: digest, Image: &providerv1.ObjectIdentity{Uid: "uid-1", Namespace: "team", Name: "ubuntu 24.04/x"}}
		change(req)
		return req
	}
	for _, tt := range []struct {
		name   string
		field  string
		none   bool // accepted without an identity
		change func(*providerv1.ImagePrepareRequest)
	}{
		{"an artifact", "", false, func(*providerv1.ImagePrepareRequest) {}},
		{"a uid as long as can be", "", false, func(r *providerv1.ImagePrepareRequest) { r.Image.Uid = strings.Repeat("a", 128) }},
		{"a uid that is too long", "image.uid", false, func(r *providerv1.ImagePrepareRequest) { r.Image.Uid = strings.Repeat("a", 129) }},
		{"a digest in capitals", "source_digest", false, func(r *providerv1.ImagePrepareRequest) { r.SourceDigest = "sha256:" + strings.Repeat("A", 64) }},
		{"no digest", "source_digest", false, func(r *providerv1.ImagePrepareRequest) { r.SourceDigest = "" }},
		{"no name", "", false, func(r *providerv1.ImagePrepareRequest) { r.Image.Name, r.Image.Namespace = "", "" }},
		{"a name with control characters", "image.name", false, func(r *providerv1.ImagePrepareRequest) { r.Image.Name = "a\n" }},
		{"a namespace with control characters", "image.namespace", false, func(r *providerv1.ImagePrepareRequest) { r.Image.Namespace = "a\n" }},
		{"an older manager", "", true, func(r *providerv1.ImagePrepareRequest) { r.Image, r.SourceDigest, r.TargetName = nil, "", "a" }},
		{"an older manager without a name", "target_name", false, func(r *providerv1.ImagePrepareRequest) { r.Image, r.SourceDigest = nil, "" }},
		{"an older manager with a wrong name", "target_name", false, func(r *providerv1.ImagePrepareRequest) { r.Image, r.SourceDigest, r.TargetName = nil, "", "a\n" }},
		{"a digest without an image", "source_digest", false, func(r *providerv1.ImagePrepareRequest) { r.Image, r.TargetName = nil, "a" }},
		{"a provider without an image", "provider", false, func(r *providerv1.ImagePrepareRequest) {
			r.Image, r.SourceDigest, r.TargetName, r.Provider = nil, "", "a", &providerv1.ObjectIdentity{Uid: "x"}
		}},
		{"both names", "target_name", false, func(r *providerv1.ImagePrepareRequest) { r.TargetName = "a" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id, err := ParseImageIdentity(request(tt.change))
			refusedFor(t, err, tt.field)
			if (id == nil) != (tt.none || tt.field != "") {
				t.Errorf("got %+v", id)
			}
		})
	}
	id, err := ParseImageIdentity(request(func(*providerv1.ImagePrepareRequest) {}))
	if err != nil {
		t.Fatal(err)
	}
	if got := id.Artifact(); !strings.HasPrefix(got, "team.ubuntu-24.04-x_") || len(got) != len("team.ubuntu-24.04-x_")+16 {
		t.Errorf("the artifact is %s", got)
	}
	long := *id
	long.name = strings.Repeat("é", 200)
	if got := long.Artifact(); len(got) > maxArtifactName || !ValidDataset("p/"+got) {
		t.Errorf("the artifact is %s", got)
	}
	long.namespace, long.name = "-.", ".-"
	if got := long.Artifact(); !strings.HasPrefix(got, "_") {
		t.Errorf("the artifact is %s", got)
	}
	stamp := id.Stamp("p", time.Now())
	if there := ReadStamp(stamp); there == nil || *there != *id || id.Check(stamp) != nil {
		t.Errorf("read back as %+v, %v", there, id.Check(stamp))
	}
	for key, value := range map[string]string{propArtifact: "2", propImageUID: "", propDigest: "sha256:1"} {
		changed := map[string]string{}
		for k, v := range stamp {
			changed[k] = v
		}
		changed[key] = value
		if err := id.Check(changed); err == nil || !strings.Contains(err.Error(), id.Artifact()) {
			t.Errorf("%s=%s: got %v", key, value, err)
		}
	}
	if got := id.Confirm(true); !got.GetReused() || got.GetName() != id.Artifact() || got.GetSourceDigest() != digest || got.GetImage().GetUid() != "uid-1" {
		t.Errorf("confirmed as %v", got)
	}
}

// TestDecodeJSON: a key that requests something and is not known is refused by its path, and a zero value never is.
func TestDecodeJSON(t *testing.T) {
	type part struct{ Name string }
	type whole struct {
		Count int
		On    *bool
		Parts []part
		Part  *part
		Any   map[string]json.RawMessage
	}
	for _, tt := range []struct{ text, field, says string }{
		{``, "", ""}, {` `, "", ""}, {`null`, "", ""}, {`{}`, "", ""}, {`{"count":1,"PARTS":[{"name":"a"}],"part":null,"any":{"x":1}}`, "", ""},
		{`{"X":1}`, "f.X", "not known"}, {`{"X":0}`, "", ""}, {`{"X":""}`, "", ""}, {`{"X":"a"}`, "f.X", "not known"}, {`{"X":false}`, "", ""}, {`{"X":true}`, "f.X", "not known"},
		{`{"X":null}`, "", ""}, {`{"X":[]}`, "", ""}, {`{"X":[0,"",{}]}`, "", ""}, {`{"X":[0,1]}`, "f.X", "not known"}, {`{"X":{"a":{"b":0}}}`, "", ""}, {`{"X":{"a":{"b":1}}}`, "f.X", "not known"},
		{`{"Y":1,"X":1}`, "f.X", "not known"},
		{`{"Parts":[{},{"X":1}]}`, "f.Parts[1].X", "not known"}, {`{"Part":{"X":1}}`, "f.Part.X", "not known"},
		{`{} {}`, "f", "single JSON value"}, {`{`, "f", "not valid JSON"}, {`[]`, "f", "must be an object, not array"},
		{`{"Count":"a"}`, "f.Count", "must be a whole number, not string"}, {`{"Count":1.5}`, "f.Count", "must be a whole number"},
		{`{"On":1}`, "f.On", "must be true or false, not number"}, {`{"Parts":1}`, "f.Parts", "must be a list"}, {`{"Part":1}`, "f.Part", "must be an object"}, {`{"Part":{"Name":1}}`, "f.Part.Name", "must be a string"},
		{`{"Any":1}`, "f.Any", "must be an object"},
	} {
		t.Run(tt.text, func(t *testing.T) {
			var dst whole
			err := DecodeJSON("f", tt.text, &dst)
			refusedFor(t, err, tt.field)
			if !strings.Contains(message(err), tt.says) {
				t.Errorf("got %v, want %q", err, tt.says)
			}
		})
	}
}
