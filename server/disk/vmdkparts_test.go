package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/zlib"
)

// flatDescriptor returns the output of qemu-img convert -O vmdk -o subformat=twoGbMaxExtentFlat, with parts of other sizes.
func flatDescriptor(kind string, lines ...string) string {
	return "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType=\"" + kind + "\"\n\n# Extent description\n" +
		strings.Join(lines, "\n") + "\n\n# The Disk Data Base\nddb.virtualHWVersion = \"4\"\n"
}

func TestFlatVMDKInAnArchive(t *testing.T) {
	raw := mbrDisk(3 * mib)
	part := func(n int) string { return string(raw[n*mib : (n+1)*mib]) }
	line := func(name string, sectors int) string { return fmt.Sprintf("RW %d FLAT %q 0", sectors, name) }
	split := flatDescriptor("twoGbMaxExtentFlat", line("d-f001.vmdk", 2048), line("d-f002.vmdk", 2048), line("d-f003.vmdk", 2048))
	whole := flatDescriptor("monolithicFlat", line("d-flat.vmdk", 3*2048))
	for _, tt := range []struct {
		name  string
		files []string
		says  string // empty: it is accepted
	}{
		{"one part, behind its descriptor", []string{"x/d.vmdk", whole, "x/d-flat.vmdk", string(raw)}, ""},
		{"one part, before its descriptor", []string{"d-flat.vmdk", string(raw), "d.vmdk", whole}, ""},
		{"one part alone", []string{"d-flat.vmdk", string(raw)}, ""},
		{"three parts, behind their descriptor", []string{"d.vmdk", split, "d-f001.vmdk", part(0), "d-f002.vmdk", part(1), "d-f003.vmdk", part(2)}, ""},
		{"three parts, before it", []string{"d-f001.vmdk", part(0), "d-f002.vmdk", part(1), "d-f003.vmdk", part(2), "d.vmdk", split}, ""},
		{"a part is missing at the end", []string{"d.vmdk", split, "d-f001.vmdk", part(0), "d-f002.vmdk", part(1)}, "contains only 2"},
		{"a part is missing in between", []string{"d.vmdk", split, "d-f001.vmdk", part(0), "d-f003.vmdk", part(2)}, "contains 2 disks"},
		{"a part is cut short", []string{"d.vmdk", split, "d-f001.vmdk", part(0), "d-f002.vmdk", part(1), "d-f003.vmdk", part(2)[:mib/2]}, "lists 2048 sectors"},
		{"no descriptor", []string{"d-f001.vmdk", part(0), "d-f002.vmdk", part(1), "d-f003.vmdk", part(2)}, "not the descriptor"},
		{"a descriptor of another file", []string{"d-flat.vmdk", string(raw), "d.vmdk", flatDescriptor("monolithicFlat", line("/etc/passwd", 3*2048))}, "/etc/passwd"},
		{"another disk", []string{"d-flat.vmdk", string(raw), "d.vmdk", whole, "e.raw", string(raw)}, "contains 2 disks"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, got, err := read(t, newOpener(t), Source{URL: serve(t, gzipped(t, archive(t, tt.files...)))})
			if tt.says == "" && (err != nil || !bytes.Equal(got, raw)) {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
			if tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says) || len(got) >= len(raw)) {
				t.Errorf("got %d bytes, error %v, want %q", len(got), err, tt.says)
			}
		})
	}
}

// split.tar.xz was made so:
//
//	qemu-img create -f vmdk -o subformat=twoGbMaxExtentSparse e.vmdk 4100M
//	qemu-io -f vmdk -c 'write -P 0x11 3000M 64k' -c 'write -P 0x22 1M 128k' -c 'write -P 0x33 2040M 16M' \
//	  -c 'write -P 0x44 4099M 64k' -c 'write -P 0x55 5k 512' e.vmdk
//	tar -c e.vmdk e-s001.vmdk e-s002.vmdk e-s003.vmdk | xz -9
func TestSplitVMDKInAnArchive(t *testing.T) {
	packed := readFile(t, "archives/split.tar.xz")
	img, got := mustRead(t, newOpener(t), Source{URL: serve(t, packed), Checksum: sha256Of(packed)})
	if img.Format != VMDK || img.Suffix() != ".vmdk" || img.VirtualBytes != 4100*mib || img.Member != "e-s001.vmdk" {
		t.Errorf("got %s (%s), a disk of %d bytes", img.Format, img.Member, img.VirtualBytes)
	}
	for _, tt := range []struct {
		at   int64
		want byte
	}{
		{0, 0}, {5 << 10, 0x55}, {6 << 10, 0}, {mib, 0x22}, {mib + 128*kib, 0}, {2040 * mib, 0x33}, {2048*mib - 1, 0x33}, {2048 * mib, 0x33},
		{2056 * mib, 0}, {3000 * mib, 0x11}, {4099 * mib, 0x44}, {4100*mib - 1, 0},
	} {
		if b := vmdkByte(t, got, tt.at); b != tt.want {
			t.Errorf("byte %d is %#x, want %#x", tt.at, b, tt.want)
		}
	}
}

// vmdkByte reads a byte of the disk in a streamOptimized vmdk, by its footer.
func vmdkByte(t *testing.T, file []byte, at int64) byte {
	t.Helper()
	footer := readVMDKHeader(file[len(file)-2*sectorBytes:])
	grain := at / pieceBytes
	table := le.Uint32(file[int64(footer.directoryAt)*sectorBytes+grain/vmdkTableEntries*4:])
	if table == 0 {
		return 0
	}
	where := int64(le.Uint32(file[int64(table)*sectorBytes+grain%vmdkTableEntries*4:])) * sectorBytes
	if where == 0 {
		return 0
	}
	if n := int64(le.Uint64(file[where:])); n != grain*vmdkGrainSectors {
		t.Fatalf("grain %d is marked as of sector %d", grain, n)
	}
	r, err := zlib.NewReader(bytes.NewReader(file[where+12:][:le.Uint32(file[where+8:])]))
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return content[at%pieceBytes]
}

func TestIncompleteSplitVMDK(t *testing.T) {
	part := unxz(t, "real/monolithicSparse.vmdk.xz")
	sectors := readVMDKHeader(part).capacity
	line := func(name string) string { return fmt.Sprintf("RW %d SPARSE %q", sectors, name) }
	two := flatDescriptor("twoGbMaxExtentSparse", line("d-s001.vmdk"), line("d-s002.vmdk"))
	gd := int(readVMDKHeader(part).directoryAt) * sectorBytes
	gt := int(le.Uint32(part[gd:])) * sectorBytes
	for _, tt := range []struct {
		name  string
		files []string
		says  string // empty: it is accepted
	}{
		{"both parts", []string{"d.vmdk", two, "d-s001.vmdk", string(part), "d-s002.vmdk", string(part)}, ""},
		{"both parts, before the descriptor", []string{"d-s001.vmdk", string(part), "d-s002.vmdk", string(part), "d.vmdk", two}, ""},
		{"one of two", []string{"d.vmdk", two, "d-s001.vmdk", string(part)}, "contains only 1"},
		{"no descriptor", []string{"d-s001.vmdk", string(part)}, "not the descriptor"},
		{"one that is cut short", []string{"d.vmdk", two, "d-s001.vmdk", string(part[:len(part)/2]), "d-s002.vmdk", string(part)}, "ends before the end of the disk"},
		{"a flat one in between", []string{"d.vmdk", two, "d-s001.vmdk", string(part), "d-f002.vmdk", string(rawDisk(mib))}, "contains 2 disks"},
		{"grains of another size", []string{"d.vmdk", two, "d-s001.vmdk", string(changed(part, func(b []byte) { le.PutUint64(b[20:], 64) })), "d-s002.vmdk", string(part)}, "grains of 64"},
		{"tables far away", []string{"d.vmdk", two, "d-s001.vmdk", string(changed(part, func(b []byte) { le.PutUint32(b[gd:], 1<<31) })), "d-s002.vmdk", string(part)}, "beyond the first"},
		{"two grains in one place", []string{"d.vmdk", two, "d-s001.vmdk", string(changed(part, func(b []byte) { copy(b[gt+4:gt+8], b[gt:gt+4]) })), "d-s002.vmdk", string(part)}, "two grains in one place"},
		{"another size than listed", []string{"d.vmdk", strings.ReplaceAll(two, fmt.Sprint("RW ", sectors), "RW 77"), "d-s001.vmdk", string(part), "d-s002.vmdk", string(part)}, "lists 77 sectors"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img, _, err := read(t, newOpener(t), Source{URL: serve(t, gzipped(t, archive(t, tt.files...)))})
			if tt.says == "" && (err != nil || img.VirtualBytes != 2*realDisk) {
				t.Errorf("%v", err)
			}
			if tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("error %v, want %q", err, tt.says)
			}
		})
	}
	// One part alone is not a disk.
	alone := spoiled(t, "monolithicSparse.vmdk", func(b []byte) { clear(b[sectorBytes : 21*sectorBytes]) })
	_, err := newOpener(t).Open(timeout(t), Source{URL: serve(t, alone)})
	want(t, err, ErrUnsupported, "one part of a disk in several files")

	// A canceled caller does not wait.
	img, err := newOpener(t).Open(t.Context(), Source{URL: serve(t, readFile(t, "archives/split.tar.xz"))})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := img.WriteTo(&fullAfter{left: 1000}); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("error is %v", err)
	}
	if err := img.Close(); err != nil {
		t.Error(err)
	}
}

// fullAfter accepts a limited number of bytes.
type fullAfter struct{ left int }

func (f *fullAfter) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, io.ErrShortWrite
	}
	return len(p), nil
}

// FuzzSplitPart rewrites any input as the only part of a disk; its grains are within its stated size.
func FuzzSplitPart(f *testing.F) {
	f.Add(unxz(f, "real/monolithicSparse.vmdk.xz"))
	f.Fuzz(func(t *testing.T, content []byte) {
		files := &partedDisk{members: noMembers{}, prefix: "d", sparse: true}
		s := &splitParts{disk: files, pick: choice{in: "archive"}, current: &member{bytes.NewReader(content), "d-s001.vmdk", int64(len(content))}, limit: 64 * mib}
		before := allocated()
		if err := s.write(io.Discard); err == nil {
			t.Error("a part without a descriptor passes")
		}
		if took := allocated() - before; took > 4*maxParse+64*int64(len(content)) {
			t.Errorf("%d bytes take %d bytes of memory", len(content), took)
		}
	})
}

type noMembers struct{}

func (noMembers) next() (member, error) { return member{}, io.EOF }
