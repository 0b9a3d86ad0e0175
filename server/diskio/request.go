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

// What migrations can use here.
var (
	ImportFormats = []string{"qcow2", "vmdk", "raw", "vdi", "vhdx"}
	ExportFormats = []string{"qcow2", "vmdk", "raw"}
	// transferModes: the bytes go through the provider, which is what "auto" comes to as well.
	TransferModes = []string{"relay"}
)

// stagingRequest is what ImportDisk and ExportDisk say alike about a staging place.
type stagingRequest interface {
	GetFormat() string
	GetCredentials() map[string]string
	GetBackendType() string
	GetTransferMode() string
	GetStorageOptionsJson() string
}

// stagingJSON is storage_options_json. Of most of it the URL is the better source: the manager
// makes both of the same settings.
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
	UID    *int64 // for who speaks NFS itself: through a mount, the mount decides
	GID    *int64
}

// stagedAt is a place where a migration keeps a disk.
type stagedAt struct {
	url   string
	s3    disk.S3
	creds disk.Credentials
}

// parseStaged reads where a disk is staged. field names the request's URL.
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

// parseStagingCredentials takes the keys that the manager takes from its Secret; what else the
// Secret holds is for others.
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

// parseStagedFormat accepts what is in a list; nothing means whatever it is.
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

// ImportStaging begins the names of the imports' staging datasets.
const ImportStaging = "import-"

// importPlace is where the disk of a target lands, which a namespace may hold.
func (m *Mover) importPlace(pool, namespace, target string) landing.Place {
	name := spec.QualifiedName(namespace, target)
	root := m.layout.Root(pool)
	return landing.Place{Dataset: path.Join(root+spec.ImportsFolder, name), Staging: root + spec.StagingFolder + ImportStaging + name, Name: target}
}
