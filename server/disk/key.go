package disk

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"slices"
	"strings"
)

// Key returns the identity of a source's content: 40 characters of [a-f0-9], the same for the same URL and checksum, with any
// credentials or signatures in the URL. The digest of an OCI reference alone identifies it, since the digest names the content in
// every registry.
//
// The key of a URL without a checksum, or with the URL of a checksum, does not depend on the current content of the URL.
func Key(s Source) (string, error) {
	list := ""
	if isSumsURL(s.Checksum) {
		var err error
		if list, err = identity(Source{URL: s.Checksum, S3: s.S3}); err != nil {
			return "", err
		}
		s.Checksum, s.ChecksumType = "", ""
	}
	sum, err := parseChecksum(s.ChecksumType, s.Checksum)
	if err != nil {
		return "", err
	}
	where, err := identity(s)
	if err != nil {
		return "", err
	}
	parts := []string{where}
	if file := fragment(s.URL); file != "" {
		parts = append(parts, "#"+file)
	}
	if list != "" {
		parts = append(parts, "listed", list)
	}
	if sum.want != "" {
		parts = append(parts, sum.name, sum.want)
	}
	digest := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(digest[:20]), nil
}

// identity returns the part of a source's URL that identifies its content.
func identity(s Source) (string, error) {
	ref, err := parseReference(s.URL)
	if err != nil {
		return "", err
	}
	switch ref.Scheme {
	case "oci":
		if _, digest, ok := strings.Cut(ref.Path, "@"); ok {
			return "oci@" + digest, nil
		}
		return "oci://" + strings.ToLower(ref.Host) + ref.Path, nil
	case "s3":
		return "s3://" + strings.TrimSuffix(s.S3.Endpoint, "/") + "/" + ref.Host + ref.Path, nil
	case "file":
		return "file://" + ref.Path, nil
	}
	return ref.Scheme + "://" + strings.ToLower(ref.Host) + ref.EscapedPath() + "?" + lastingQuery(ref.Query()), nil
}

// lastingQuery drops the parameters of presigned URLs: they change with every signature, and the content does not.
func lastingQuery(query url.Values) string {
	drop := []string{}
	for _, scheme := range presigned {
		if query.Has(scheme[0]) {
			drop = append(drop, scheme...)
		}
	}
	for name := range query {
		if slices.Contains(drop, name) || strings.HasPrefix(name, "X-Amz-") || strings.HasPrefix(name, "X-Goog-") {
			query.Del(name)
		}
	}
	return query.Encode()
}

// presigned are the parameters of AWS's and Google's older signatures and of Azure's shared access signatures. The first of each is
// the signature itself; without it the short names of the others have another meaning.
var presigned = [][]string{
	{"Signature", "AWSAccessKeyId", "Expires", "GoogleAccessId"},
	{"sig", "se", "st", "sp", "sv", "sr", "spr", "skoid", "sktid", "skt", "ske", "sks", "skv"},
}

// parseReference parses a URL or a plain absolute path. The error quotes no part of it, since any part may be a secret.
func parseReference(raw string) (*url.URL, error) {
	if strings.HasPrefix(raw, "/") {
		return &url.URL{Scheme: "file", Path: raw}, nil
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, refusal(ErrInvalid, "url cannot be parsed")
	}
	u.Scheme = strings.ToLower(u.Scheme)
	switch u.Scheme {
	case "http", "https", "s3", "oci":
		if u.Host == "" {
			return nil, refusal(ErrInvalid, "%s url names no host or bucket", u.Scheme)
		}
	case "file":
		if u.Host != "" && u.Host != "localhost" {
			return nil, refusal(ErrInvalid, "file url names the host %q, allowed is file:///path", u.Host)
		}
	default:
		return nil, refusal(ErrInvalid, "url scheme is %q, allowed are http, https, s3, oci, file and plain paths", u.Scheme)
	}
	return u, nil
}
