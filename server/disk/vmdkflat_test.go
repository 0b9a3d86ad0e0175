package disk

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// flatDescriptor is what qemu-img convert -O vmdk -o subformat=twoGbMaxExtentFlat writes, with parts of other sizes.
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
		says  string // empty: it is fine
	}{
		{"one part, behind its descriptor", []string{"x/d.vmdk", whole, "x/d-flat.vmdk", string(raw)}, ""},
		{"one part, before its descriptor", []string{"d-flat.vmdk", string(raw), "d.vmdk", whole}, ""},
		{"one part alone", []string{"d-flat.vmdk", string(raw)}, ""},
		{"three parts, behind their descriptor", []string{"d.vmdk", split, "d-f001.vmdk", part(0), "d-f002.vmdk", part(1), "d-f003.vmdk", part(2)}, ""},
		{"three parts, before it", []string{"d-f001.vmdk", part(0), "d-f002.vmdk", part(1), "d-f003.vmdk", part(2), "d.vmdk", split}, ""},
		{"a part is missing at the end", []string{"d.vmdk", split, "d-f001.vmdk", part(0), "d-f002.vmdk", part(1)}, "holds 2 of them"},
		{"a part is missing in between", []string{"d.vmdk", split, "d-f001.vmdk", part(0), "d-f003.vmdk", part(2)}, "holds 2 disks"},
		{"a part is cut short", []string{"d.vmdk", split, "d-f001.vmdk", part(0), "d-f002.vmdk", part(1), "d-f003.vmdk", part(2)[:mib/2]}, "lists 2048 sectors"},
		{"no descriptor", []string{"d-f001.vmdk", part(0), "d-f002.vmdk", part(1), "d-f003.vmdk", part(2)}, "not the descriptor"},
		{"a descriptor of another file", []string{"d-flat.vmdk", string(raw), "d.vmdk", flatDescriptor("monolithicFlat", line("/etc/passwd", 3*2048))}, "/etc/passwd"},
		{"another disk", []string{"d-flat.vmdk", string(raw), "d.vmdk", whole, "e.raw", string(raw)}, "holds 2 disks"},
		{"parts that are sparse (twoGbMaxExtentSparse)", []string{"d-s001.vmdk", string(spoiled(t, "monolithicSparse.vmdk", func(b []byte) { clear(b[28:36]) }))}, "qemu-img convert"},
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
