package disk

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"hash"
	"strings"
)

// algorithms are the checksums that image publishers use. md5 and sha1 protect against accidents only.
var algorithms = []struct {
	name string
	new  func() hash.Hash
}{
	{"md5", md5.New},
	{"sha1", sha1.New},
	{"sha256", sha256.New},
	{"sha512", sha512.New},
}

// checksum is the algorithm for the downloaded bytes and the expected digest.
type checksum struct {
	name string // empty: nothing is computed
	want string // lower case; empty: nothing is compared
	new  func() hash.Hash
}

// parseChecksum accepts a bare digest, and one with its type as a prefix ("sha256:…").
func parseChecksum(kind, value string) (checksum, error) {
	kind = normalKind(kind)
	value = strings.ToLower(strings.TrimSpace(value))
	if prefix, rest, ok := strings.Cut(value, ":"); ok {
		if kind != "" && kind != normalKind(prefix) {
			return checksum{}, refusal(ErrInvalid, "checksum type is %q, but the checksum begins with %q", kind, prefix)
		}
		kind, value = normalKind(prefix), rest
	}
	if kind == "" && value == "" {
		return checksum{}, nil
	}
	if _, err := hex.DecodeString(value); err != nil {
		return checksum{}, refusal(ErrInvalid, "checksum %q is not hexadecimal", value)
	}
	for _, a := range algorithms {
		length := hex.EncodedLen(a.new().Size())
		switch {
		case kind == "" && len(value) == length:
			return checksum{name: a.name, want: value, new: a.new}, nil
		case kind == a.name && (value == "" || len(value) == length):
			return checksum{name: a.name, want: value, new: a.new}, nil
		case kind == a.name:
			return checksum{}, refusal(ErrInvalid, "checksum has %d digits, %s has %d", len(value), kind, length)
		}
	}
	if kind == "" {
		return checksum{}, refusal(ErrInvalid, "checksum of %d digits is neither md5, sha1, sha256 nor sha512", len(value))
	}
	return checksum{}, refusal(ErrInvalid, "checksum type is %q, allowed are md5, sha1, sha256 and sha512", kind)
}

// normalKind returns the same text for "SHA-256" and "sha256".
func normalKind(kind string) string {
	return strings.ToLower(strings.ReplaceAll(strings.TrimSpace(kind), "-", ""))
}

// verify compares the computed digest with the expected one.
func (c checksum) verify(got string) error {
	if c.want == "" || got == c.want {
		return nil
	}
	return refusal(ErrChecksum, "%s of the downloaded bytes is %s, announced was %s", c.name, got, c.want)
}
