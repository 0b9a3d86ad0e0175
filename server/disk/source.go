package disk

import (
	"net/url"
	"strings"
)

// Source identifies an image and its announced properties.
type Source struct {
	// URL is http(s)://…, s3://bucket/key, oci://registry/repository[:tag][@sha256:…], file:///path or a plain path. A fragment
	// (#disk.raw) selects a file from an archive or a container image with several disks.
	URL string
	// Format is the announced format; any format is accepted when it is empty. See [ParseFormat].
	Format string
	// Checksum is the hexadecimal digest of the published file, which may be compressed. It may also be the URL of a list of
	// checksums (SHA256SUMS, disk.raw.sha256), in which the file name of URL selects the line; signatures of such lists are not
	// verified.
	Checksum string
	// ChecksumType is md5, sha1, sha256 or sha512, derived from the checksum's length when empty. With a type and without a
	// checksum the sum is computed and not compared: see [Image.Sum].
	ChecksumType string
	// Bytes is the announced length of the published file, zero when unknown.
	Bytes int64
	// Credentials for the source, if it requires any.
	Credentials Credentials
	// S3 overrides [Options.S3], field by field. Its PathStyle can only switch path style on.
	S3 S3
	// Repack lets [Image.Pack] leave out the zeros of a fully allocated qcow2. It may turn out in the middle of the file that this
	// is impossible: the error is then ErrUnordered, and the image has to be opened again without Repack.
	Repack bool
	// Progress receives periodic reports of the transfer, from one goroutine at a time.
	Progress func(Progress)
}

// Credentials are never printed, with any verb.
type Credentials struct {
	// Username and Password are for http(s) (basic authentication) and for registries.
	Username, Password string
	// Token is a bearer token for http(s), a refresh (identity) token for registries.
	Token string
	// AccessKeyID, SecretAccessKey and SessionToken are for S3. Without a key, requests are anonymous.
	AccessKeyID, SecretAccessKey, SessionToken string
	// Headers are sent with each http(s) request to the host of the URL, but not after a redirect to another host. See
	// [CheckHeaders].
	Headers map[string]string
}

// String keeps secrets out of logs and errors.
func (Credentials) String() string { return "[credentials]" }

// GoString keeps secrets out of %#v.
func (Credentials) GoString() string { return "[credentials]" }

// MarshalText keeps secrets out of JSON and of structured logs.
func (Credentials) MarshalText() ([]byte, error) { return []byte("[credentials]"), nil }

// redacted returns a URL for printing: without user information, query or fragment, any of which may be a secret (a presigned URL
// contains its signature in the query).
func redacted(raw string) string {
	if !strings.Contains(raw, "://") {
		return raw // a path
	}
	u, err := url.Parse(raw)
	if err != nil {
		scheme, _, _ := strings.Cut(raw, "://")
		return scheme + "://[unreadable]"
	}
	return withoutSecrets(u)
}

// withoutSecrets returns u reduced to scheme, host and path.
func withoutSecrets(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
}
