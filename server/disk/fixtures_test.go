package disk

import "bytes"

// newQCOW2 returns the smallest complete qcow2 of version 3: an empty disk of 1 MiB in clusters of 64 KiB. change may corrupt the
// header.
func newQCOW2(change func(header []byte)) []byte {
	const cluster = 64 * kib
	b := make([]byte, 4*cluster)
	copy(b, "QFI\xfb")
	be.PutUint32(b[4:], 3)
	be.PutUint32(b[20:], 16)
	be.PutUint64(b[24:], mib)
	be.PutUint32(b[36:], 1)
	be.PutUint64(b[40:], 3*cluster)
	be.PutUint64(b[48:], cluster)
	be.PutUint32(b[56:], 1)
	be.PutUint32(b[96:], 4)
	be.PutUint32(b[100:], 104)
	change(b)
	return b
}

// streamOptimized returns a vmdk in the form of VMware's exports: the footer has the position of the grain directory. change may
// corrupt it.
func streamOptimized(change func(footer []byte)) []byte {
	header := make([]byte, sectorBytes)
	copy(header, "KDMV")
	le.PutUint32(header[4:], 3)
	le.PutUint32(header[8:], vmdkCompressed|vmdkMarkers|1)
	le.PutUint64(header[12:], mib/sectorBytes)
	le.PutUint64(header[20:], 128)
	le.PutUint64(header[28:], 1)
	le.PutUint64(header[36:], 20)
	le.PutUint32(header[44:], 512)
	le.PutUint64(header[56:], vmdkAtEnd)
	le.PutUint16(header[77:], 1)
	footer := bytes.Clone(header)
	le.PutUint64(footer[56:], 22)
	change(footer)
	marker := make([]byte, sectorBytes)
	le.PutUint64(marker, 1)
	le.PutUint32(marker[12:], vmdkFooterMarker)
	descriptor := make([]byte, 20*sectorBytes)
	copy(descriptor, "# Disk DescriptorFile\nversion=1\nparentCID=ffffffff\ncreateType=\"streamOptimized\"\nRDONLY 2048 SPARSE \"export.vmdk\"\n")
	return bytes.Join([][]byte{header, descriptor, make([]byte, 4096), marker, footer, make([]byte, sectorBytes)}, nil)
}

// vhdFooter returns the footer of a disk of size bytes.
func vhdFooter(kind uint32, size uint64) []byte {
	b := make([]byte, sectorBytes)
	copy(b, "conectix")
	be.PutUint64(b[48:], size)
	be.PutUint32(b[60:], kind)
	be.PutUint32(b[64:], vhdChecksum(b))
	return b
}

// vhdx returns a good image with a change to its metadata, which begin with their table.
func vhdx(good []byte, change func(metadata []byte)) []byte {
	return changed(good, func(b []byte) { change(b[3*mib:]) })
}

// item finds a metadata item.
func item(metadata []byte, id guid) []byte {
	at := bytes.Index(metadata, id[:])
	return metadata[le.Uint32(metadata[at+16:]):]
}

// vhdxSum updates a structure's checksum.
func vhdxSum(b []byte) {
	le.PutUint32(b[4:], vhdxChecksum(b))
}
