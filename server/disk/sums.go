package disk

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
)

// maxSums is the maximum size of a list of checksums.
const maxSums = 4 * mib

// The line formats: GNU coreutils write the digest, a space, a space or an asterisk and the name; the tools of BSD (and coreutils
// with --tag) the algorithm, the name in parentheses and the digest.
var (
	gnuSum = regexp.MustCompile(`^\\?([0-9a-fA-F]{32,128})(?:\s[\s*](.+)|\s+(.+))?$`)
	bsdSum = regexp.MustCompile(`^([A-Za-z0-9-]+)\s?\((.+)\)\s?=\s?([0-9a-fA-F]{32,128})$`)
)

// isSumsURL reports whether a checksum is the URL of a list and not a digest.
func isSumsURL(sum string) bool { return strings.Contains(sum, "://") }

// publishedSum is one line of a list.
type publishedSum struct {
	kind, digest string
	name         string // empty: the list has a single digest without names
}

// checksumOf returns the checksum of a source: the given one, or the one in the given list.
func (o *Opener) checksumOf(ctx context.Context, src Source, read referrer) (checksum, error) {
	if !isSumsURL(src.Checksum) {
		return parseChecksum(src.ChecksumType, src.Checksum)
	}
	sum, err := o.publishedSum(ctx, src, read)
	if err != nil {
		return checksum{}, fmt.Errorf("checksum %s: %w", redacted(src.Checksum), err)
	}
	return sum, nil
}

// publishedSum fetches a list, and finds the image's line.
func (o *Opener) publishedSum(ctx context.Context, src Source, read referrer) (checksum, error) {
	list := Source{URL: src.Checksum, S3: src.S3}
	ref, file, err := read(list.URL)
	if err != nil {
		return checksum{}, err
	}
	if image, err := url.Parse(src.URL); err == nil && image.Scheme == ref.Scheme && image.Host == ref.Host {
		list.Credentials = src.Credentials
	}
	from, err := o.supply(ctx, ref, file, list)
	if err != nil {
		return checksum{}, err
	}
	defer from.Close() //nolint:errcheck // It was read.
	text, err := io.ReadAll(io.LimitReader(from, maxSums+1))
	switch {
	case err != nil:
		return checksum{}, err
	case len(text) > maxSums:
		return checksum{}, refusal(ErrTooLarge, "list has more than %d bytes", maxSums)
	}
	return choosePublished(parseSums(text), src)
}

// parseSums reads the checksums of a list. In a signed text (gpg --clearsign), only the signed part counts; the signature itself is
// not verified.
func parseSums(text []byte) []publishedSum {
	const signed, signature = "-----BEGIN PGP SIGNED MESSAGE-----", "-----BEGIN PGP SIGNATURE-----"
	text = bytes.TrimPrefix(text, byteOrderMarks[0])
	if _, body, ok := bytes.Cut(text, []byte(signed)); ok {
		text, _, _ = bytes.Cut(body, []byte(signature))
	}
	var sums []publishedSum
	for line := range strings.Lines(string(text)) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "- ") // a signed text escapes dashes like this
		if m := bsdSum.FindStringSubmatch(line); m != nil {
			sums = append(sums, publishedSum{kind: normalKind(m[1]), digest: strings.ToLower(m[3]), name: m[2]})
		} else if m := gnuSum.FindStringSubmatch(line); m != nil {
			sums = append(sums, publishedSum{kind: kindOfDigest(m[1]), digest: strings.ToLower(m[1]), name: strings.TrimSpace(m[2] + m[3])})
		}
	}
	return slices.DeleteFunc(sums, func(s publishedSum) bool { return s.kind == "" || kindOfDigest(s.digest) != s.kind })
}

// kindOfDigest returns the algorithm for digests of that length, or "".
func kindOfDigest(digest string) string {
	for _, a := range algorithms {
		if len(digest) == hex.EncodedLen(a.new().Size()) {
			return a.name
		}
	}
	return ""
}

// choosePublished finds the line with the image's file name. Of several algorithms, the requested one counts, or else the
// strongest.
func choosePublished(sums []publishedSum, src Source) (checksum, error) {
	name := fileNameOf(src.URL)
	named := slices.DeleteFunc(slices.Clone(sums), func(s publishedSum) bool { return name == "" || path.Base(s.name) != name })
	if len(named) == 0 && len(sums) == 1 && sums[0].name == "" {
		named = sums
	}
	kind := normalKind(src.ChecksumType)
	if slices.ContainsFunc(named, func(s publishedSum) bool { return s.kind == kind }) {
		named = slices.DeleteFunc(named, func(s publishedSum) bool { return s.kind != kind })
	}
	var best publishedSum
	for _, s := range named {
		switch {
		case len(s.digest) == len(best.digest) && s.digest != best.digest:
			return checksum{}, refusal(ErrInvalid, "list has several digests for %q: give the right one itself", name)
		case len(s.digest) > len(best.digest):
			best = s
		}
	}
	switch {
	case best.digest != "":
		return parseChecksum(best.kind, best.digest)
	case len(sums) == 0:
		return checksum{}, refusal(ErrInvalid, "content is not a list of checksums as written by sha256sum")
	}
	return checksum{}, refusal(ErrInvalid, "list has no line for %q", name)
}

// fileNameOf returns the file name of a URL in a list.
func fileNameOf(raw string) string {
	u, err := parseReference(raw)
	if err != nil || u.Scheme == "oci" || strings.HasSuffix(u.Path, "/") {
		return ""
	}
	return path.Base(u.Path)
}
