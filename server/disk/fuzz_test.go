package disk

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fuzzHeader feeds a parser of headers with whatever, starting from real and hostile files. Whatever it is fed, it
// has to return, within its limits, and with a size that can be used.
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
		s, err := parse(h)
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

func FuzzQCOW2(f *testing.F) { fuzzHeader(f, ".qcow2", inspectQCOW2) }
func FuzzVMDK(f *testing.F)  { fuzzHeader(f, ".vmdk", inspectVMDK) }
func FuzzVDI(f *testing.F)   { fuzzHeader(f, ".vdi", inspectVDI) }

// A VHDX has its metadata behind several MiB of nothing, which a fuzzer would spend its time on: they are left out.
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

// Whatever is passed on as raw must not look like anything else to qemu-img.
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
