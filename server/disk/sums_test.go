package disk

import (
	"crypto/md5"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestPublishedChecksums reads lists as they are published beside images:
//
//	sha256sum *.raw > SHA256SUMS              GNU coreutils
//	sha256sum -b *.raw > SHA256SUMS           with asterisks
//	sha256sum --tag *.raw > CHECKSUM          BSD, as Fedora has it
//	gpg --clearsign SHA256SUMS                signed
//	sha256sum disk.raw > disk.raw.sha256      one file
func TestPublishedChecksums(t *testing.T) {
	content := rawDisk(mib)
	sum, wrong := sha256Of(content), strings.Repeat("0f", 32)
	long := sha512.Sum512(content)
	sha512sum, md5sum := hex.EncodeToString(long[:]), fmt.Sprintf("%x", md5.Sum(content))
	gnu := wrong + "  disk.raw.xz\n" + sum + "  disk.raw\n" + wrong + "  other.raw\n"
	signed := "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n" + gnu + "- --- end\n-----BEGIN PGP SIGNATURE-----\n\n" + wrong + "  disk.raw\n-----END PGP SIGNATURE-----\n"
	for _, tt := range []struct {
		name, list, kind string
		says             string // empty: it is accepted
	}{
		{"gnu", gnu, "", ""},
		{"gnu, binary", strings.ReplaceAll(gnu, "  ", " *"), "sha256", ""},
		{"gnu, with folders", strings.ReplaceAll(gnu, "  ", "  ./images/"), "", ""},
		{"gnu, by Windows", strings.ReplaceAll(gnu, "\n", "\r\n"), "", ""},
		{"bsd", "# disk.raw: 1048576 bytes\nSHA256 (disk.raw) = " + sum + "\nSHA256 (other.raw) = " + wrong + "\n", "", ""},
		{"bsd without spaces (openssl sha256)", "SHA256(disk.raw)= " + sum + "\n", "", ""},
		{"signed", signed, "", ""},
		{"a digest and nothing else", sum + "\n", "", ""},
		{"in capitals", strings.ToUpper(sum) + "  disk.raw\n", "", ""},
		{"sha512, and the manager's default of sha256", sha512sum + "  disk.raw\n", "sha256", ""},
		{"several algorithms, the strongest counts", md5sum + "  disk.raw\n" + sha512sum + "  disk.raw\n" + strings.Repeat("00", 20) + "  disk.raw\n", "", ""},
		{"several algorithms, one requested", "MD5 (disk.raw) = " + md5sum + "\nSHA256 (disk.raw) = " + wrong + "\n", "md5", ""},
		{"another digest", wrong + "  disk.raw\n", "", "sha256 of the downloaded bytes is"},
		{"no line", wrong + "  other.raw\n", "", `no line for "disk.raw"`},
		{"two lines", sum + "  a/disk.raw\n" + wrong + "  b/disk.raw\n", "", "several digests"},
		{"a page", "<html>not found</html>\n", "", "not a list of checksums"},
		{"nothing", "", "", "not a list of checksums"},
		{"a list of several without names", sum + "\n" + wrong + "\n", "", "no line for"},
		{"an endless list", strings.Repeat("x", maxSums+1), "", "more than"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			base := strings.TrimSuffix(serveHandler(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/disk.raw" {
					w.Write(content)
				} else {
					w.Write([]byte(tt.list))
				}
			}), "/image")
			img, got, err := read(t, newOpener(t), Source{URL: base + "/disk.raw", Checksum: base + "/SHA256SUMS?token=secret", ChecksumType: tt.kind})
			if tt.says == "" && (err != nil || len(got) != mib || img.Sum == "" || img.SumType == "") {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
			if tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "secret") || len(got) >= mib) {
				t.Errorf("got %d bytes, error %v, want %q", len(got), err, tt.says)
			}
		})
	}
}

func TestPublishedChecksumIsGuarded(t *testing.T) {
	url := serve(t, rawDisk(mib))
	o := newOpener(t)
	_, err := o.Open(timeout(t), Source{URL: url, Checksum: "http://169.254.169.254/sums"})
	want(t, err, ErrRefused, "link-local")
	_, err = o.Open(timeout(t), Source{URL: url, Checksum: "file:///etc/passwd"})
	want(t, err, ErrRefused, "outside the allowed directories")

	// Credentials are sent to the image's host only.
	foreign := serveHandler(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("credentials were sent to another host")
		}
		fmt.Fprintf(w, "%s  image\n", sha256Of(rawDisk(mib)))
	})
	mustRead(t, o, Source{URL: url, Checksum: foreign, Credentials: Credentials{Token: "t"}})
}

func TestKeyOfAPublishedChecksum(t *testing.T) {
	key := func(sum string) string {
		k, err := Key(Source{URL: "https://example.org/disk.raw", Checksum: sum, ChecksumType: "sha256"})
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	if key("https://example.org/SHA256SUMS") == key("") || key("https://example.org/SHA256SUMS") == key("https://example.org/SHA512SUMS") {
		t.Error("the list does not count")
	}
	if key("https://user:a@example.org/SHA256SUMS") != key("https://user:b@example.org/SHA256SUMS") {
		t.Error("a password counts")
	}
}

func FuzzSums(f *testing.F) {
	f.Add([]byte(strings.Repeat("0f", 32) + "  disk.raw\nSHA256 (disk.raw) = " + strings.Repeat("0f", 32) + "\n"))
	f.Add([]byte("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n- -----BEGIN PGP SIGNATURE-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, s := range parseSums(text) {
			if sum, err := parseChecksum(s.kind, s.digest); err != nil || sum.want != s.digest {
				t.Errorf("%+v makes %+v, %v", s, sum, err)
			}
		}
	})
}
