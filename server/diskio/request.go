package diskio

import (
	"net/url"
	"path"
	"slices"
	"strings"

	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/server/landing"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
)

// The supported options of migrations.
var (
	ImportFormats = []string{"qcow2", "vmdk", "raw", "vdi", "vhdx"}
	ExportFormats = []string{"qcow2", "vmdk", "raw"}
	// TransferModes has one mode: the provider relays the bytes. The mode "auto" selects it as well.
	TransferModes = []string{"relay"}
)

// stagingRequest is the part that ImportDisk and ExportDisk have in common.
type stagingRequest interface {
	GetFormat() string
	GetCredentials() map[string]string
	GetBackendType() string
	GetTransferMode() string
	GetStorageOptionsJson() string
}

// stagingJSON is storage_options_json. The URL has most of its fields too, and takes precedence: the manager makes both from the
// same settings.
type stagingJSON struct {
	Backend      string
	Bucket       string
	Endpoint     string
	Region       string
	Prefix       string
	UsePathStyle bool

	Server string
	Export string
	Path   string
	UID    *int64 // for a client that speaks NFS itself: with a mount, the mount decides
	GID    *int64
}

// stagedAt is the staging place of a disk.
type stagedAt struct {
	url   string
	s3    disk.S3
	creds disk.Credentials
}

// parseStaged reads a staging place. field names the request's URL.
func parseStaged(field, where string, req stagingRequest) (stagedAt, error) {
	var j stagingJSON
	if err := spec.DecodeJSON("storage_options_json", req.GetStorageOptionsJson(), &j); err != nil {
		return stagedAt{}, err
	}
	u, err := url.Parse(where)
	if err != nil || u.Scheme == "" || u.Host == "" {
		return stagedAt{}, refusal.InvalidArgument(field, "is not a URL such as s3://bucket/key, pvc://claim/path or nfs://server/export/path")
	}
	scheme := strings.ToLower(u.Scheme)
	kind := strings.Replace(scheme, "https", "http", 1)
	for _, backend := range []struct{ field, value string }{{"backend_type", req.GetBackendType()}, {"storage_options_json.backend", j.Backend}} {
		if backend.value != "" && !strings.EqualFold(backend.value, kind) {
			return stagedAt{}, refusal.InvalidArgument(backend.field, "%q does not fit %s, whose scheme is %s", backend.value, field, scheme)
		}
	}
	if mode := req.GetTransferMode(); mode != "" && mode != "auto" && !slices.Contains(TransferModes, mode) {
		return stagedAt{}, refusal.InvalidArgument("transfer_mode", "%q; allowed are auto and %s: the bytes go through the provider", mode, strings.Join(TransferModes, ", "))
	}
	s := stagedAt{url: where, s3: disk.S3{Endpoint: j.Endpoint, Region: j.Region, PathStyle: j.UsePathStyle}}
	s.creds, err = parseStagingCredentials(req.GetCredentials())
	return s, err
}

// parseStagingCredentials reads the keys that the manager reads from its Secret, and ignores other keys, which are for other
// programs.
func parseStagingCredentials(secrets map[string]string) (disk.Credentials, error) {
	var c disk.Credentials
	for key, value := range secrets {
		switch key {
		case "accessKeyID":
			c.AccessKeyID = value
		case "secretAccessKey":
			c.SecretAccessKey = value
		case "sessionToken":
			c.SessionToken = value
		case "username":
			c.Username = value
		case "password":
			c.Password = value
		case "token":
			c.Token = value
		}
	}
	if (c.AccessKeyID == "") != (c.SecretAccessKey == "") {
		return c, refusal.InvalidArgument("credentials", "accessKeyID and secretAccessKey belong together, and one is missing")
	}
	return c, nil
}

// parseStagedFormat accepts a format in a list; "" means any format.
func parseStagedFormat(format string, allowed []string) (string, error) {
	format = strings.ToLower(format)
	if format != "" && !slices.Contains(allowed, format) {
		return "", refusal.InvalidArgument("format", "%q; allowed are %s", format, strings.Join(allowed, ", "))
	}
	return format, nil
}

// lasting identifies a staged disk by the parts of its URL that are not secret.
func (p stagedAt) lasting() string {
	u, err := url.Parse(p.url)
	if err != nil {
		return ""
	}
	where := (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
	if p.s3.Endpoint != "" {
		where += " at " + p.s3.Endpoint
	}
	return where
}

// ImportStaging is the prefix of the imports' staging datasets.
const ImportStaging = "import-"

// importPlace returns the place of a target's disk, which may include a namespace.
func (m *Mover) importPlace(pool, namespace, target string) landing.Place {
	name := spec.QualifiedName(namespace, target)
	root := m.layout.Root(pool)
	return landing.Place{Dataset: path.Join(root+spec.ImportsFolder, name), Staging: root + spec.StagingFolder + ImportStaging + name, Name: target}
}
