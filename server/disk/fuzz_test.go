package disk

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime/metrics"
	"strings"
	"testing"
)

// fuzzHeader passes any input to a parser of headers, starting from real and hostile files. The parser has to return, within its
// limits, and with a usable size.
func fuzzHeader(f *testing.F, suffix string, parse func(*head) (shape, error)) {
	f.Helper()
	for _, dir := range []string{"real", "hostile"} {
		files, err := os.ReadDir(filepath.Join("testdata", dir))
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file.Name(), suffix+".xz") {
				content := unxz(f, filepath.Join(dir, file.Name()))
				f.Add(content[:min(len(content), 16*kib)])
			}
		}
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		h := &head{r: bytes.NewReader(content)}
		before := allocated()
		s, err := parse(h)
		if took := allocated() - before; took > maxParse {
			t.Errorf("%d bytes of header take %d bytes of memory", len(content), took)
		}
		if err == nil && (s.virtual < -1 || s.least < 0) {
			t.Errorf("virtual size %d, at least %d bytes", s.virtual, s.least)
		}
		if len(h.buf) > headLimit {
			t.Errorf("%d bytes were read ahead", len(h.buf))
		}
		if err == nil && s.end != nil {
			s.end(content[max(0, len(content)-tailBytes):], int64(len(content)))
		}
	})
}

// maxParse bounds the allocations for one header, in bytes: twice the bytes that are read ahead, and some more.
const maxParse = 2*headLimit + 8*mib

// allocated returns the total allocations of the process, in bytes.
func allocated() int64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return int64(sample[0].Value.Uint64())
}

// FuzzQCOW2Stream reads a complete image; whatever its header claims, its pieces are within the disk and in order.
func FuzzQCOW2Stream(f *testing.F) {
	for _, name := range []string{"real/v3.qcow2.xz", "real/zstd.qcow2.xz"} {
		content := unxz(f, name)
		f.Add(content[:min(len(content), pieceBytes)], int64(16<<20))
	}
	f.Add(newQCOW2(func([]byte) {})[:2*pieceBytes], int64(mib))
	f.Fuzz(func(t *testing.T, content []byte, size int64) {
		if size < 0 || size > 1<<50 {
			return
		}
		before := allocated()
		_ = newQCOW2Stream(bytes.NewReader(content), size, func(n int64, p []byte) error {
			if n*pieceBytes >= size || n < 0 || len(p) != pieceBytes {
				t.Errorf("piece %d of %d bytes, of a disk of %d", n, len(p), size)
			}
			return nil
		}).read()
		if took := allocated() - before; took > maxParse+8*int64(len(content)) {
			t.Errorf("%d bytes take %d bytes of memory", len(content), took)
		}
	})
}

// FuzzReference checks that the printed form of an image's URL contains no secret.
func FuzzReference(f *testing.F) {
	for _, raw := range []string{
		"https://user:s3cr3t@images.example/debian.qcow2?X-Amz-Signature=s3cr3t", "s3://bucket/key?versionId=1", "oci://registry.example:5000/a/b:v1@sha256:00",
		"file:///images/a.raw", "/images/a.raw", "http://[::1%25eth0]:80/x#y", "https://user:s3cr3t@host:port/", "HTTP://1.2.3.4", "%", "://",
	} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := parseReference(raw)
		if err != nil {
			if strings.Contains(raw, "s3cr3t") && strings.Contains(err.Error(), "s3cr3t") && strings.Count(raw, "s3cr3t@") > 0 {
				t.Errorf("%q: %v", raw, err)
			}
			return
		}
		shown := redacted(raw)
		if strings.Contains(shown, "?") && u.RawQuery != "" && strings.Contains(raw, "://") {
			t.Errorf("%q is shown as %q", raw, shown)
		}
		if u.User != nil && strings.Contains(raw, "://") && strings.Contains(shown, "@") && !strings.Contains(u.Path+u.Host, "@") {
			t.Errorf("%q is shown as %q", raw, shown)
		}
		if _, err := Key(Source{URL: raw}); err == nil && u.Scheme == "" {
			t.Errorf("%q has a key and no scheme", raw)
		}
	})
}

func FuzzQCOW2(f *testing.F) { fuzzHeader(f, ".qcow2", inspectQCOW2) }
func FuzzVMDK(f *testing.F)  { fuzzHeader(f, ".vmdk", inspectVMDK) }
func FuzzVDI(f *testing.F)   { fuzzHeader(f, ".vdi", inspectVDI) }

// A VHDX has its metadata after several MiB of zeros, which would waste the fuzzer's time: they are left out.
func FuzzVHDX(f *testing.F) {
	content := unxz(f, "real/dynamic.vhdx.xz")
	f.Add(content[192*kib:][:4*kib], content[3*mib:][:4*kib], content[3*mib+64*kib:][:64])
	f.Fuzz(func(t *testing.T, regions, table, items []byte) {
		file := bytes.Clone(content[:4*mib])
		for _, at := range vhdxTablesAt {
			copy(file[at:][:vhdxTableBytes], regions)
			vhdxSum(file[at:][:vhdxTableBytes])
		}
		copy(file[3*mib:][:vhdxTableBytes], table)
		copy(file[3*mib+64*kib:], items)
		if s, err := inspectVHDX(&head{r: bytes.NewReader(file)}); err == nil && (s.virtual < 0 || s.least < 0) {
			t.Errorf("virtual size %d, at least %d bytes", s.virtual, s.least)
		}
	})
}

// Content that is accepted as raw must not look like another format to qemu-img.
func FuzzRecognise(f *testing.F) {
	for _, s := range signatures {
		f.Add(append(make([]byte, s.at), s.magic...))
	}
	f.Add([]byte("# comment\n \nversion=2\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		format, err := recognise(&head{r: bytes.NewReader(content)}, Raw)
		if err != nil {
			return
		}
		if format != Raw && format != ISO || bytes.HasPrefix(content, []byte("QFI\xfb")) || bytes.HasPrefix(content, []byte("KDMV")) {
			t.Errorf("%q passes for %s", content[:min(64, len(content))], format)
		}
	})
}

func FuzzXZIndex(f *testing.F) {
	for _, name := range []string{"real/plain.raw.xz", "real/v3.qcow2.xz"} {
		packed, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		if n, err := xzContent(bytes.NewReader(file), int64(len(file))); n < -1 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	})
}

func FuzzDescriptor(f *testing.F) {
	f.Add("# Disk DescriptorFile\nversion=1\nparentCID=ffffffff\ncreateType=\"streamOptimized\"\nRW 8 SPARSE \"x.vmdk\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		isDescriptor([]byte(text))
		if checkDescriptor(text) == nil && strings.Contains(text, "\nparentFileNameHint=") {
			t.Errorf("a parent passes in %q", text)
		}
	})
}
