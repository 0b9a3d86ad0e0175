package disk

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
)

var (
	be = binary.BigEndian
	le = binary.LittleEndian
)

// spoiled returns a good image of testdata/real with a change.
func spoiled(t *testing.T, name string, change func(b []byte)) []byte {
	return changed(unxz(t, "real/"+name+".xz"), change)
}

// changed returns a copy of good with a change.
func changed(good []byte, change func(b []byte)) []byte {
	b := bytes.Clone(good)
	change(b)
	return b
}

// hostileImage is an image that has to be refused, and the expected error.
type hostileImage struct {
	name    string
	content []byte
	kind    error
	says    string
}

// Each is refused after its head, compressed or not.
func TestHostileImages(t *testing.T) {
	for _, tt := range slices.Concat(hostileQCOW2(t), hostileVMDK(t), hostileVDI(t), hostileVHDX(t), hostileOthers(t)) {
		t.Run(tt.name, func(t *testing.T) {
			o := newOpener(t)
			_, err := o.Open(timeout(t), Source{URL: serve(t, tt.content)})
			want(t, err, tt.kind, tt.says)

			_, _, err = read(t, o, Source{URL: serve(t, gzipped(t, tt.content))})
			want(t, err, tt.kind)
		})
	}
}

func hostileQCOW2(t *testing.T) []hostileImage {
	return []hostileImage{
		{"qcow2 with a backing file", unxz(t, "hostile/backing-file.qcow2.xz"), ErrHostile, "backing file"},
		{"qcow2 that is backed by a file of the NAS", unxz(t, "hostile/backing-passwd.qcow2.xz"), ErrHostile, "backing file"},
		{"qcow2 with an external data file", unxz(t, "hostile/external-data.qcow2.xz"), ErrHostile, "external data file"},
		{"qcow2 that names a data file without using it", newQCOW2(func(b []byte) { be.PutUint32(b[104:], qcow2ExtensionDataFile) }), ErrHostile, "external data file"},
		{"qcow2 of 100 PiB", unxz(t, "hostile/huge.qcow2.xz"), ErrTooLarge, "virtual size"},
		{"qcow2 larger than the limit", newQCOW2(func(b []byte) {
			be.PutUint64(b[24:], 2*tib+1)
			be.PutUint32(b[36:], 8193)
		}), ErrTooLarge, "the limit is 2199023255552"},
		{"qcow2 whose size overflows", newQCOW2(func(b []byte) { be.PutUint64(b[24:], 1<<63) }), ErrTooLarge, "virtual size"},
		{"qcow2 of no size", newQCOW2(func(b []byte) { be.PutUint64(b[24:], 0) }), ErrCorrupt, "virtual size is 0"},
		{"qcow2 with an unknown incompatible feature", newQCOW2(func(b []byte) { be.PutUint64(b[72:], 1<<40) }), ErrHostile, "0x10000000000"},
		{"qcow2 marked corrupt", newQCOW2(func(b []byte) { be.PutUint64(b[72:], qcow2Corrupt) }), ErrCorrupt, "corrupt"},
		{"qcow2 that is encrypted", newQCOW2(func(b []byte) { be.PutUint32(b[32:], 2) }), ErrUnsupported, "encryption"},
		{"qcow2 with unknown compression", newQCOW2(func(b []byte) {
			be.PutUint64(b[72:], qcow2CompressionType)
			be.PutUint32(b[100:], 112)
			b[104] = 9
		}), ErrHostile, "compression type is 9"},
		{"qcow2 of version 7", newQCOW2(func(b []byte) { be.PutUint32(b[4:], 7) }), ErrUnsupported, "version is 7"},
		{"qcow2 with clusters of 1 byte", newQCOW2(func(b []byte) { be.PutUint32(b[20:], 0) }), ErrHostile, "cluster bits are 0"},
		{"qcow2 with clusters of 2 GiB", newQCOW2(func(b []byte) { be.PutUint32(b[20:], 31) }), ErrHostile, "cluster bits are 31"},
		{"qcow2 with an absurd L1 table", newQCOW2(func(b []byte) { be.PutUint32(b[36:], 1<<31) }), ErrHostile, "L1 table"},
		{"qcow2 with an L1 table too small for its disk", newQCOW2(func(b []byte) { be.PutUint64(b[24:], gib) }), ErrHostile, "needs 2"},
		{"qcow2 with an absurd refcount table", newQCOW2(func(b []byte) { be.PutUint32(b[56:], 1<<31) }), ErrHostile, "refcount table"},
		{"qcow2 with an absurd refcount order", newQCOW2(func(b []byte) { be.PutUint32(b[96:], 40) }), ErrHostile, "refcount order"},
		{"qcow2 with an absurd header length", newQCOW2(func(b []byte) { be.PutUint32(b[100:], 1<<31) }), ErrHostile, "header length"},
		{"qcow2 with an extension that leaves the header", newQCOW2(func(b []byte) {
			be.PutUint32(b[104:], 0x1234)
			be.PutUint32(b[108:], 1<<31)
		}), ErrHostile, "header extension"},
		{"qcow2 with a table inside its header", newQCOW2(func(b []byte) { be.PutUint64(b[40:], 0) }), ErrHostile, "L1 table is at 0"},
		{"qcow2 with a table beyond its end", newQCOW2(func(b []byte) { be.PutUint64(b[40:], gib) }), ErrLength, "1073741832"},
		{"qcow2 with too many snapshots", newQCOW2(func(b []byte) { be.PutUint32(b[60:], 1<<20) }), ErrHostile, "snapshots"},
		{"qcow2 that ends within its header", newQCOW2(func([]byte) {})[:90], ErrCorrupt, "90 bytes"},
	}
}

func hostileVMDK(t *testing.T) []hostileImage {
	monolithic := func(old, new string) []byte {
		return spoiled(t, "monolithicSparse.vmdk", func(b []byte) {
			if len(old) != len(new) || !bytes.Contains(b, []byte(old)) {
				t.Fatalf("%q cannot be replaced by %q", old, new)
			}
			copy(b[bytes.Index(b, []byte(old)):], new)
		})
	}
	sparse := func(at int, value uint64) []byte {
		return spoiled(t, "monolithicSparse.vmdk", func(b []byte) { le.PutUint64(b[at:], value) })
	}
	return []hostileImage{
		{"vmdk descriptor of a flat disk", unxz(t, "hostile/flat.vmdk.xz"), ErrHostile, "descriptor"},
		{"vmdk descriptor of a split disk", unxz(t, "hostile/two.vmdk.xz"), ErrHostile, "descriptor"},
		{"vmdk descriptor that names a path", append([]byte("# a comment\nversion=1\nRW 8 FLAT \"/etc/passwd\" 0\n"), make([]byte, 4096)...), ErrHostile, "descriptor"},
		{"vmdk with a parent", unxz(t, "hostile/parent.vmdk.xz"), ErrHostile, "parent"},
		{"vmdk with a parent's id only", monolithic("parentCID=ffffffff", "parentCID=12345678"), ErrHostile, "parentCID"},
		{"vmdk that names a flat extent", monolithic(`SPARSE "`, `FLAT "xy`), ErrHostile, "FLAT"},
		{"vmdk whose extent is a path", monolithic(`SPARSE "monolithic`, `SPARSE "/etc/passw`), ErrHostile, "path"},
		{"vmdk of another kind", monolithic(`"monolithicSparse"`, `"monolithicFlat"  `), ErrHostile, "monolithicFlat"},
		{"vmdk with two extents", monolithic("# The Disk Data Base", "RW 8 SPARSE \"x.vmdk\""), ErrHostile, "2 extents"},
		{"vmdk whose capacity is left to its descriptor", sparse(12, 0), ErrHostile, "capacity is 0"},
		{"vmdk larger than the limit", sparse(12, 4*tib/512+1), ErrTooLarge, "virtual size"},
		{"vmdk with an absurd capacity", sparse(12, 1<<63), ErrTooLarge, "capacity"},
		{"vmdk with absurd grains", sparse(20, 0), ErrHostile, "grains"},
		{"vmdk with absurd grain tables", spoiled(t, "monolithicSparse.vmdk", func(b []byte) { le.PutUint32(b[44:], 1<<30) }), ErrHostile, "grain tables"},
		{"vmdk with its directory beyond its end", sparse(56, 1<<30), ErrLength, "refers to"},
		{"vmdk that is one of several", sparse(28, 0), ErrUnsupported, "no descriptor"},
		{"vmdk with an absurd descriptor", sparse(36, 1<<60), ErrHostile, "descriptor"},
		{"vmdk whose footer has another size", streamOptimized(func(footer []byte) { le.PutUint64(footer[12:], 1<<40) }), ErrHostile, "footer differs"},
		{"vmdk whose footer is missing", streamOptimized(func(footer []byte) { footer[0] = 0 }), ErrCorrupt, "footer"},
	}
}

func hostileVDI(t *testing.T) []hostileImage {
	vdi := func(at int, value uint32) []byte {
		return spoiled(t, "dynamic.vdi", func(b []byte) { le.PutUint32(b[at:], value) })
	}
	return []hostileImage{
		{"vdi with a parent", vdi(0x1b8, 1), ErrHostile, "parent"},
		{"vdi that is differencing", vdi(0x4c, 4), ErrHostile, "image type is 4"},
		{"vdi larger than its blocks", vdi(0x170, 1<<30), ErrHostile, "blocks"},
		{"vdi with an absurd number of blocks", vdi(0x180, 1<<31), ErrHostile, "blocks"},
		{"vdi with its data in its map", vdi(0x158, 0x200), ErrHostile, "overlaps"},
		{"vdi with its map in its header", vdi(0x154, 0), ErrHostile, "block map"},
		{"vdi with blocks of another size", vdi(0x178, 512), ErrUnsupported, "blocks of 512"},
		{"vdi that is cut off", spoiled(t, "dynamic.vdi", func([]byte) {})[:mib], ErrLength, "refers to"},
	}
}

func hostileVHDX(t *testing.T) []hostileImage {
	vhdxFile := unxz(t, "real/dynamic.vhdx.xz")[:8*mib] // it is empty from there on
	return []hostileImage{
		{"vhdx with a parent", vhdx(vhdxFile, func(m []byte) { m[64*kib+4] |= vhdxHasParent }), ErrHostile, "parent"},
		{"vhdx that names a parent", vhdx(vhdxFile, func(m []byte) { copy(m[32+32*int(m[10]):], vhdxParentLocator[:]); m[10]++ }), ErrHostile, "parent"},
		{"vhdx larger than the limit", vhdx(vhdxFile, func(m []byte) { le.PutUint64(item(m, vhdxVirtualSize), 3*tib) }), ErrTooLarge, "virtual size"},
		{"vhdx with unfinished changes", changed(vhdxFile, func(b []byte) {
			for _, at := range vhdxHeadersAt {
				b[at+48] = 1
				vhdxSum(b[at:][:vhdxHeaderBytes])
			}
		}), ErrUnsupported, "log"},
		{"vhdx with two opinions", changed(vhdxFile, func(b []byte) { b[vhdxTablesAt[1]+20] ^= 1 }), ErrCorrupt, "region tables"},
		{"vhdx with its metadata far away", changed(vhdxFile, func(b []byte) {
			for _, at := range vhdxTablesAt {
				le.PutUint64(b[at+16+32+16:], 1<<40)
				vhdxSum(b[at:][:vhdxTableBytes])
			}
		}), ErrUnsupported, "beyond"},
	}
}

func hostileOthers(t *testing.T) []hostileImage {
	return []hostileImage{
		{"vhd that is differencing", append(vhdFooter(vhdDifferencing, mib), make([]byte, 4096)...), ErrHostile, "parent"},
		{"vhd that is dynamic, larger than the limit", dynamicVHDFile(t, func(b []byte) { be.PutUint64(b[48:], 4*tib); be.PutUint32(b[64:], vhdChecksum(b[:sectorBytes])) }), ErrTooLarge, "virtual size"},
		{"vhd with a block in its table", dynamicVHDFile(t, func(b []byte) { be.PutUint32(b[1536:], 2) }), ErrHostile, "block at 1024"},
		{"vhd with two blocks in one place", dynamicVHDFile(t, func(b []byte) { copy(b[1540:1544], b[1536:1540]) }), ErrHostile, "within another one"},
		{"vhd with blocks of another size", dynamicVHDFile(t, func(b []byte) { be.PutUint32(b[512+32:], 3*mib) }), ErrUnsupported, "blocks of 3145728"},
		{"vhd with a table too small for its disk", dynamicVHDFile(t, func(b []byte) { be.PutUint32(b[512+28:], 1) }), ErrHostile, "1 entries"},
		{"vhd without a header", dynamicVHDFile(t, func(b []byte) { b[512] = 0 }), ErrCorrupt, "no header"},
		{"vhd with a bent footer", dynamicVHDFile(t, func(b []byte) { b[50]++ }), ErrCorrupt, "checksum"},
		{"vhd whose footer has another size", append(rawDisk(mib), vhdFooter(vhdFixed, gib)...), ErrLength, "footer"},
		{"qed", unxz(t, "hostile/v.qed.xz"), ErrUnsupported, "qed"},
		{"qcow of version 1", unxz(t, "hostile/v.qcow.xz"), ErrUnsupported, "qcow"},
		{"parallels", unxz(t, "hostile/v.parallels.xz"), ErrUnsupported, "parallels"},
	}
}

// Content that qemu-img would detect as another format must not pass as raw, since qemu-img would then follow its references.
func TestRawWithAnotherFormat(t *testing.T) {
	for _, tt := range []struct {
		name    string
		content []byte
		kind    error
		says    string
	}{
		{"qcow2", unxz(t, "real/v3.qcow2.xz"), ErrFormat, "give qcow2 as the format, or none"},
		{"qcow2 with a backing file", unxz(t, "hostile/backing-passwd.qcow2.xz"), ErrFormat, "qcow2"},
		{"vmdk", unxz(t, "real/streamOptimized.vmdk.xz"), ErrFormat, "give vmdk"},
		{"vmdk descriptor", unxz(t, "hostile/flat.vmdk.xz"), ErrHostile, "names other files"},
		{"vmdk descriptor with line ends of Windows", []byte("# Disk DescriptorFile\r\n \r\nversion=3\r\n"), ErrHostile, "names other files"},
		{"vmdk of version 3", []byte("COWD"), ErrUnsupported, "COWD"},
		{"vdi", unxz(t, "real/dynamic.vdi.xz"), ErrFormat, "give vdi"},
		{"vhdx", unxz(t, "real/dynamic.vhdx.xz"), ErrFormat, "give vhdx"},
		{"dynamic vhd", unxz(t, "real/dynamic.vhd.xz"), ErrFormat, "dynamic vhd"},
		{"fixed vhd", unxz(t, "real/fixed.vhd.xz"), ErrFormat, "vhd footer"},
		{"qed", unxz(t, "hostile/v.qed.xz"), ErrUnsupported, "a qed image"},
		{"qcow", unxz(t, "hostile/v.qcow.xz"), ErrUnsupported, "a qcow of version 1"},
		{"parallels", unxz(t, "hostile/v.parallels.xz"), ErrUnsupported, "parallels"},
		{"parallels, extended", []byte("WithouFreSpacExt"), ErrUnsupported, "parallels"},
		{"luks", []byte("LUKS\xba\xbe\x00\x02"), ErrUnsupported, "luks"},
		{"bochs", []byte("Bochs Virtual HD Image"), ErrUnsupported, "bochs"},
		{"cloop", []byte("#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0"), ErrUnsupported, "cloop"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			content := append(tt.content, make([]byte, max(0, 4096-len(tt.content)))...)
			o := newOpener(t)
			_, err := o.Open(timeout(t), Source{URL: serve(t, content), Format: "raw"})
			want(t, err, tt.kind, tt.says)
			_, _, err = read(t, o, Source{URL: serve(t, gzipped(t, content)), Format: "raw"})
			want(t, err, tt.kind, tt.says)
		})
	}
}

// The end of a stream arrives last, and a receiver of a bad stream must not have all of it by then.
func TestBadEndIsWithheld(t *testing.T) {
	content := append(rawDisk(mib), vhdFooter(vhdFixed, gib)...)
	for name, src := range map[string]Source{
		"a footer that does not fit": {URL: serve(t, gzipped(t, content))},
		"a checksum that does not":   {URL: serve(t, gzipped(t, content[:mib])), Checksum: "d41d8cd98f00b204e9800998ecf8427e"},
	} {
		_, got, err := read(t, newOpener(t), src)
		if err == nil || len(got) >= mib {
			t.Errorf("%s: %d bytes were passed on, error %v", name, len(got), err)
		}
	}
}

func TestStreamOptimizedWithFooter(t *testing.T) {
	content := streamOptimized(func([]byte) {})
	for name, served := range map[string][]byte{"plain": content, "compressed": gzipped(t, content)} {
		img, got := mustRead(t, newOpener(t), Source{URL: serve(t, served)})
		if img.Format != VMDK || img.VirtualBytes != mib || !bytes.Equal(got, content) {
			t.Errorf("%s: got %s of %d bytes", name, img.Format, img.VirtualBytes)
		}
	}
}
