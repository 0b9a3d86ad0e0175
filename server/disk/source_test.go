package disk

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestChecksums(t *testing.T) {
	packed := gzipped(t, rawDisk(mib))
	sums := map[string]string{
		"md5":    fmt.Sprintf("%x", md5.Sum(packed)),
		"sha1":   fmt.Sprintf("%x", sha1.Sum(packed)),
		"sha256": fmt.Sprintf("%x", sha256.Sum256(packed)),
		"sha512": fmt.Sprintf("%x", sha512.Sum512(packed)),
	}
	o, url := newOpener(t), serve(t, packed)
	for kind, sum := range sums {
		for name, src := range map[string]Source{
			"with its type":        {Checksum: sum, ChecksumType: kind},
			"by its length":        {Checksum: sum},
			"in capitals":          {Checksum: strings.ToUpper(sum), ChecksumType: strings.ToUpper(kind)},
			"with its type before": {Checksum: kind + ":" + sum},
			"only computed":        {ChecksumType: kind},
		} {
			src.URL = url
			img, _ := mustRead(t, o, src)
			if img.Sum != sum {
				t.Errorf("%s %s: sum is %s, want %s", kind, name, img.Sum, sum)
			}
		}
		wrong := strings.Repeat("0", len(sum))
		_, _, err := read(t, o, Source{URL: url, Checksum: wrong})
		want(t, err, ErrChecksum, kind, sum, wrong)
	}
	_, _, err := read(t, o, Source{URL: url, Checksum: fmt.Sprintf("%x", sha256.Sum256(rawDisk(mib)))})
	want(t, err, ErrChecksum) // the checksum of the disk instead of that of the file
}

func TestInvalidChecksums(t *testing.T) {
	for _, tt := range []struct{ kind, sum, says string }{
		{"sha256", "abc", "not hexadecimal"},
		{"sha256", "abcd", "4 digits, sha256 has 64"},
		{"crc32", "abcdabcd", "allowed are md5"},
		{"", "abcd", "neither"},
		{"md5", "sha1:" + strings.Repeat("0", 40), "sha1"},
	} {
		_, err := newOpener(t).Open(t.Context(), Source{URL: "http://localhost/", Checksum: tt.sum, ChecksumType: tt.kind})
		want(t, err, ErrInvalid, tt.says)
	}
}

func TestLengthAnnouncedByTheCaller(t *testing.T) {
	content := rawDisk(mib)
	chunked := serveHandler(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Write(content[:100])
		w.(http.Flusher).Flush()
		w.Write(content[100:])
	})
	for _, url := range []string{serve(t, content), chunked} {
		_, got := mustRead(t, newOpener(t), Source{URL: url, Bytes: mib})
		if !bytes.Equal(got, content) {
			t.Error("the content differs from the served one")
		}
		_, _, err := read(t, newOpener(t), Source{URL: url, Bytes: mib - 1})
		want(t, err, ErrLength, "1048575")
	}
	_, _, err := read(t, newOpener(t), Source{URL: serve(t, content), Bytes: mib + 1})
	want(t, err, ErrLength, "1048577")
	_, _, err = read(t, newOpener(t), Source{URL: chunked, Bytes: mib + sectorBytes})
	want(t, err, ErrLength, "ended after 1048576")
}

func TestKeyIsStable(t *testing.T) {
	sum := strings.Repeat("ab", 32)
	digest := "@sha256:" + sum
	base := Source{URL: "https://example.org/disk.qcow2", Checksum: sum}
	for _, tt := range []struct {
		name string
		a, b Source
		same bool
	}{
		{"the same", base, base, true},
		{"credentials in the URL", base, Source{URL: "https://joe:secret@example.org/disk.qcow2", Checksum: sum}, true},
		{"another spelling of the checksum", base, Source{URL: base.URL, Checksum: "SHA256:" + strings.ToUpper(sum)}, true},
		{"another case of the host", base, Source{URL: "HTTPS://Example.ORG/disk.qcow2", Checksum: sum}, true},
		{"another path", base, Source{URL: "https://example.org/disk2.qcow2", Checksum: sum}, false},
		{"another query", base, Source{URL: "https://example.org/disk.qcow2?v=2", Checksum: sum}, false},
		{"no checksum", base, Source{URL: base.URL}, false},
		{"another signature", Source{URL: "https://s3/b/k?X-Amz-Signature=1&X-Amz-Date=2"}, Source{URL: "https://s3/b/k?X-Amz-Signature=3"}, true},
		{"another shared access signature", Source{URL: "https://a/b?sv=1&sig=2"}, Source{URL: "https://a/b?sv=3&sig=4"}, true},
		{"a short name without a signature", Source{URL: "https://a/b?sv=1"}, Source{URL: "https://a/b?sv=3"}, false},
		{"a digest in another registry", Source{URL: "oci://a/b:1" + digest}, Source{URL: "oci://c/d" + digest}, true},
		{"another tag", Source{URL: "oci://a/b:1"}, Source{URL: "oci://a/b:2"}, false},
		{"a path and its URL", Source{URL: "/srv/disk.raw"}, Source{URL: "file:///srv/disk.raw"}, true},
		{"another S3 service", Source{URL: "s3://b/k", S3: S3{Endpoint: "https://x"}}, Source{URL: "s3://b/k", S3: S3{Endpoint: "https://y"}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, errA := Key(tt.a)
			b, errB := Key(tt.b)
			if errA != nil || errB != nil || (a == b) != tt.same {
				t.Errorf("keys are %s and %s (%v, %v)", a, b, errA, errB)
			}
			if !regexp.MustCompile(`^[a-z0-9]{40}$`).MatchString(a) {
				t.Errorf("key %q cannot be the name of a dataset", a)
			}
		})
	}
	if key, err := Key(base); err != nil || key != "5f6367aa9ed308bc0f92d1d1829c8f75eb7ca35a" {
		t.Errorf("key is %s (%v): images with the old key are lost", key, err)
	}
}

func TestInvalidReferences(t *testing.T) {
	for _, url := range []string{"", "ftp://example.org/x", "javascript:alert(1)", "http://", "oci://", "s3:///key", "s3://bucket", "oci://Registry/UPPER CASE", "http://[::1", "http://user:pa%ss@host/"} {
		_, err := newOpener(t).Open(t.Context(), Source{URL: url})
		want(t, err, ErrInvalid)
	}
}

// No failure puts a secret into the error or the log.
func TestSecretsStaySecret(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	secrets := []string{"hunter2", "sIgNaTuRe", "tOkEn", "fRaGmEnT", "kEyId"}
	broken := serveHandler(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	elsewhere := serveHandler(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://joe:hunter2@169.254.169.254/?X-Amz-Signature=sIgNaTuRe", http.StatusFound)
	})
	cut := serveHandler(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "9999")
		w.Write(rawDisk(512))
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	credentials := Credentials{Token: "tOkEn", Password: "hunter2", AccessKeyID: "kEyId", SecretAccessKey: "hunter2", SessionToken: "tOkEn"}
	o := newOpener(t, func(o *Options) { o.Logger = zap.New(core) })
	for _, url := range []string{
		broken, elsewhere, cut,
		"http://127.0.0.1:1/x", "http://no-such-host.invalid/x", "http://169.254.1.1/x",
		"https://" + strings.TrimPrefix(broken, "http://"),
		"ftp://example.org/x", "http://exa mple.org/%zz",
	} {
		full := strings.Replace(url, "://", "://joe:hunter2@", 1) + "?X-Amz-Signature=sIgNaTuRe#fRaGmEnT"
		_, _, err := read(t, o, Source{URL: full, Credentials: credentials})
		if err == nil {
			t.Errorf("%s can be read", url)
			continue
		}
		for _, secret := range secrets {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%s: the error has %q in it: %v", url, secret, err)
			}
		}
	}
	_, err := o.Open(t.Context(), Source{URL: "s3://bucket/key", Credentials: credentials, S3: S3{Endpoint: broken[:strings.LastIndex(broken, "/")], Region: "r"}})
	encoded, jsonErr := json.Marshal(credentials)
	text := fmt.Sprintf("%v %v %+v %#v %s", err, credentials, Source{Credentials: credentials}, credentials, encoded)
	for _, entry := range logs.All() {
		text += fmt.Sprint(entry.Message, entry.ContextMap())
	}
	if jsonErr != nil || logs.Len() == 0 {
		t.Errorf("%d log entries, %v", logs.Len(), jsonErr)
	}
	for _, secret := range secrets {
		if strings.Contains(text, secret) {
			t.Errorf("%q is in the printed text: %s", secret, text)
		}
	}
}

func TestProgress(t *testing.T) {
	content := rawDisk(16 * mib)
	var all []Progress
	var percents []int
	throttled := EveryPercent(25, func(p Progress) { percents = append(percents, p.Percent()) })
	mustRead(t, newOpener(t), Source{URL: serve(t, content), Progress: func(p Progress) {
		all = append(all, p)
		throttled(p)
	}})
	if len(all) == 0 || all[len(all)-1].Done != 16*mib || all[0].Total != 16*mib {
		t.Fatalf("reports are %v", all)
	}
	if fmt.Sprint(percents) != "[25 50 75 100]" {
		t.Errorf("throttled to %v", percents)
	}
	if text := all[len(all)-1].String(); !strings.HasPrefix(text, "100 % of 16.0 MiB, ") || !strings.HasSuffix(text, "0s left") {
		t.Errorf("reads %q", text)
	}
	if text := (Progress{Done: mib, Total: -1}).String(); text != "1.0 MiB, 0.0 MiB/s" {
		t.Errorf("reads %q", text)
	}
}

func TestWithheldNeverPassesTheLastBytes(t *testing.T) {
	for _, sizes := range [][]int{{1, 1, 1}, {tailBytes}, {tailBytes, 1}, {5000}, {1000, 1000, 1000, 1}, {1, 5000, 1}, {2000, 10, 2000}} {
		var out, all bytes.Buffer
		w := &withheld{w: &out}
		for _, n := range sizes {
			part := rawDisk(n)
			all.Write(part)
			if _, err := io.Copy(w, bytes.NewReader(part)); err != nil {
				t.Fatal(err)
			}
		}
		if held := min(all.Len(), tailBytes); len(w.held) != held || out.Len() != all.Len()-held {
			t.Errorf("%v: %d bytes are held, %d were passed", sizes, len(w.held), out.Len())
		}
		if err := w.release(1); err != nil || !bytes.Equal(out.Bytes(), all.Bytes()[:all.Len()-1]) {
			t.Errorf("%v: the bytes are not those that were written", sizes)
		}
	}
}
