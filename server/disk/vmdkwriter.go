package disk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"github.com/klauspost/compress/zlib"
)

// Layout of a streamOptimized extent ("Virtual Disk Format 5.0"): the header, the description, then the grains, each compressed
// after a marker; after the grains of each table the table, at the end the directory of the tables, the header again, and an end
// mark.
const (
	vmdkGrainSectors = pieceBytes / sectorBytes
	vmdkTableEntries = 512
	vmdkHeadSectors  = 128 // before the first grain
	vmdkTextAt       = 1   // sector of the description
	vmdkTextSectors  = 20
	vmdkFlags        = 1 | vmdkCompressed | vmdkMarkers // 1: the line ends can detect text transfers

	vmdkMarkEnd       = 0
	vmdkMarkTable     = 1
	vmdkMarkDirectory = 2
	vmdkMarkFooter    = vmdkFooterMarker
)

// WriteVMDK writes a disk of size bytes as a streamOptimized vmdk. image is the disk as the NAS made it, in format raw or qcow2,
// from its first byte to its end; see [ErrUnordered]. WriteVMDK writes everything in order and once, and leaves out zeros.
func WriteVMDK(w io.Writer, image io.Reader, format Format, size int64) error {
	v := &vmdkWriter{w: w, sectors: sectorsOf(size)}
	if v.sectors > math.MaxUint32 {
		return refusal(ErrTooLarge, "vmdk of %d bytes: a streamOptimized one has at most %d", size, int64(math.MaxUint32)*sectorBytes)
	}
	if err := v.open(zlib.BestSpeed); err != nil {
		return err
	}
	if err := eachPiece(image, format, size, v.grain); err != nil {
		return err
	}
	return v.end()
}

type vmdkWriter struct {
	w         io.Writer
	sectors   int64    // of the disk
	at        int64    // the next sector to write
	directory []uint32 // sectors of the tables; 0: none
	table     [vmdkTableEntries]uint32
	current   int64 // number of the current table
	used      bool  // the current table has entries
	packer    *zlib.Writer
	packed    bytes.Buffer
}

// header returns the first sector, and with the directory's position the footer.
func (v *vmdkWriter) header(directory uint64) []byte {
	h := make([]byte, sectorBytes)
	le := binary.LittleEndian
	copy(h, "KDMV")
	le.PutUint32(h[4:], 3)
	le.PutUint32(h[8:], vmdkFlags)
	le.PutUint64(h[12:], uint64(v.sectors))
	le.PutUint64(h[20:], vmdkGrainSectors)
	le.PutUint64(h[28:], vmdkTextAt)
	le.PutUint64(h[36:], vmdkTextSectors)
	le.PutUint32(h[44:], vmdkTableEntries)
	le.PutUint64(h[56:], directory)
	le.PutUint64(h[64:], vmdkHeadSectors)
	copy(h[73:], "\n \r\n")
	le.PutUint16(h[77:], 1) // deflate
	return h
}

// description returns the embedded descriptor. The geometry is VMware's for SCSI disks.
func (v *vmdkWriter) description() string {
	const heads, track = 255, 63
	return fmt.Sprintf(`# Disk DescriptorFile
version=1
CID=7669727a
parentCID=%s
createType="streamOptimized"

# Extent description
RW %d SPARSE "disk.vmdk"

# The Disk Data Base
#DDB

ddb.virtualHWVersion = "4"
ddb.geometry.cylinders = "%d"
ddb.geometry.heads = "%d"
ddb.geometry.sectors = "%d"
ddb.adapterType = "lsilogic"
`, noParent, v.sectors, max(1, v.sectors/(heads*track)), heads, track)
}

// open writes the data before the first grain; level is zlib's.
func (v *vmdkWriter) open(level int) (err error) {
	if v.packer, err = zlib.NewWriterLevel(&v.packed, level); err != nil {
		return err
	}
	return v.begin()
}

// begin writes the data before the first grain.
func (v *vmdkWriter) begin() error {
	start := make([]byte, vmdkHeadSectors*sectorBytes)
	copy(start, v.header(vmdkAtEnd))
	copy(start[vmdkTextAt*sectorBytes:], v.description())
	return v.write(start)
}

// write writes complete sectors.
func (v *vmdkWriter) write(p []byte) error {
	if rest := len(p) % sectorBytes; rest > 0 {
		p = append(p, make([]byte, sectorBytes-rest)...)
	}
	v.at += int64(len(p) / sectorBytes)
	_, err := v.w.Write(p)
	return err
}

// mark writes a marker in a separate sector: the kind of the following data, and its length in sectors.
func (v *vmdkWriter) mark(kind uint32, sectors int64) error {
	m := make([]byte, sectorBytes)
	binary.LittleEndian.PutUint64(m, uint64(sectors))
	binary.LittleEndian.PutUint32(m[12:], kind)
	return v.write(m)
}

// grain writes a grain. The caller passes them in ascending order.
func (v *vmdkWriter) grain(n int64, p []byte) error {
	if table := n / vmdkTableEntries; table != v.current {
		if err := v.closeTable(); err != nil {
			return err
		}
		v.current = table
	}
	at, err := v.place(n, p)
	v.table[n%vmdkTableEntries], v.used = at, true
	return err
}

// place writes a grain after its first sector on the disk and its length, and returns its sector in the file.
func (v *vmdkWriter) place(n int64, p []byte) (at uint32, err error) {
	v.packed.Reset()
	v.packed.Write(make([]byte, 12))
	v.packer.Reset(&v.packed)
	if _, err := v.packer.Write(p); err != nil {
		return 0, err
	}
	if err := v.packer.Close(); err != nil {
		return 0, err
	}
	if v.at > math.MaxUint32 {
		return 0, refusal(ErrTooLarge, "vmdk has more than %d sectors", uint32(math.MaxUint32))
	}
	at = uint32(v.at)
	b := v.packed.Bytes()
	binary.LittleEndian.PutUint64(b, uint64(n*vmdkGrainSectors))
	binary.LittleEndian.PutUint32(b[8:], uint32(len(b)-12))
	return at, v.write(b)
}

// closeTable writes the table of the last grains.
func (v *vmdkWriter) closeTable() error {
	if !v.used {
		return nil
	}
	if err := v.mark(vmdkMarkTable, vmdkTableEntries*4/sectorBytes); err != nil {
		return err
	}
	v.grow(v.current + 1)
	v.directory[v.current] = uint32(v.at)
	err := v.write(entries(v.table[:]))
	v.table, v.used = [vmdkTableEntries]uint32{}, false
	return err
}

// grow makes room for this number of tables.
func (v *vmdkWriter) grow(tables int64) {
	if missing := tables - int64(len(v.directory)); missing > 0 {
		v.directory = append(v.directory, make([]uint32, missing)...)
	}
}

// end writes the data after the last grain. The number of sectors may have become known only now.
func (v *vmdkWriter) end() error {
	if err := v.closeTable(); err != nil {
		return err
	}
	if v.sectors > math.MaxUint32 {
		return refusal(ErrTooLarge, "disk has more than the %d bytes of a vmdk", int64(math.MaxUint32)*sectorBytes)
	}
	v.grow((v.sectors/vmdkGrainSectors + vmdkTableEntries - 1) / vmdkTableEntries)
	directory := entries(v.directory)
	if err := v.mark(vmdkMarkDirectory, int64(len(directory)+sectorBytes-1)/sectorBytes); err != nil {
		return err
	}
	at := v.at
	if err := v.write(directory); err != nil {
		return err
	}
	if err := v.mark(vmdkMarkFooter, 1); err != nil {
		return err
	}
	if err := v.write(v.header(uint64(at))); err != nil {
		return err
	}
	return v.mark(vmdkMarkEnd, 0)
}

// entries returns numbers in the form of a table.
func entries(numbers []uint32) []byte {
	b := make([]byte, 0, 4*len(numbers))
	for _, n := range numbers {
		b = binary.LittleEndian.AppendUint32(b, n)
	}
	return b
}
