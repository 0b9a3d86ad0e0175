package disk

import (
	"cmp"
	"encoding/binary"
	"io"
	"math/bits"
	"slices"
)

// Layout of a dynamic VHD ("Virtual Hard Disk Image Format Specification", 1.0): a copy of the footer, a header, a table with the
// position of each block, the blocks in any order, each after a bitmap of its sectors, and the footer. Numbers are big-endian.
const (
	vhdHeaderBytes = 1024
	vhdUnused      = 0xffffffff // entry of a block that holds only zeros
	vhdLeastBlock  = 4 * kib
	vhdMostBlock   = 2 * mib // the largest cluster of a qcow2
)

// dynamicDisk converts a dynamic VHD into a qcow2, since TrueNAS cannot convert a VHD. A block becomes a cluster. The complete
// tables of a qcow2 can be written before the first block, for any order of the blocks.
type dynamicDisk struct {
	size   int64      // bytes of the disk
	block  int64      // bytes
	bitmap int64      // bytes before each block
	blocks []vhdBlock // the blocks with data, in the order of the file
	tables qcow2Tables
}

// vhdBlock is a block's number on the disk, and the position of its bitmap in the file.
type vhdBlock struct{ number, at int64 }

// readDynamicVHD reads the data before the first block.
func readDynamicVHD(h *head, limit int64) (*dynamicDisk, error) {
	footer, err := h.at(0, sectorBytes)
	if err != nil {
		return nil, err
	}
	if sum := vhdChecksum(footer); sum != binary.BigEndian.Uint32(footer[64:]) {
		return nil, refusal(ErrCorrupt, "vhd footer has checksum %#x, expected %#x", binary.BigEndian.Uint32(footer[64:]), sum)
	}
	switch kind := binary.BigEndian.Uint32(footer[60:]); kind {
	case vhdDynamic:
	case vhdDifferencing:
		return nil, refusal(ErrHostile, "vhd disk type is differencing (it refers to a parent), allowed are fixed and dynamic")
	default:
		return nil, refusal(ErrCorrupt, "vhd disk type is %d at the beginning of a file, expected %d", kind, vhdDynamic)
	}
	size, headerAt := binary.BigEndian.Uint64(footer[48:]), binary.BigEndian.Uint64(footer[16:])
	if size == 0 || size%sectorBytes != 0 || size > uint64(limit) {
		return nil, refusal(ErrTooLarge, "virtual size is %d bytes, allowed are whole sectors up to %d", size, limit)
	}
	header, err := h.at(int64(min(headerAt, headLimit)), vhdHeaderBytes)
	if err != nil {
		return nil, err
	}
	d := &dynamicDisk{size: int64(size), block: int64(binary.BigEndian.Uint32(header[32:]))}
	if string(header[:8]) != "cxsparse" {
		return nil, refusal(ErrCorrupt, "vhd has no header at %d", headerAt)
	}
	return d, d.readTable(h, header)
}

// readTable reads the position of each block.
func (d *dynamicDisk) readTable(h *head, header []byte) error {
	tableAt, entries := binary.BigEndian.Uint64(header[16:]), int64(binary.BigEndian.Uint32(header[28:]))
	switch {
	case d.block < vhdLeastBlock || d.block > vhdMostBlock || bits.OnesCount64(uint64(d.block)) != 1:
		return refusal(ErrUnsupported, "vhd has blocks of %d bytes, allowed are powers of two from %d to %d", d.block, vhdLeastBlock, vhdMostBlock)
	case entries < (d.size+d.block-1)/d.block || entries > headLimit/4:
		return refusal(ErrHostile, "vhd block table has %d entries, a disk of %d bytes has %d blocks", entries, d.size, (d.size+d.block-1)/d.block)
	}
	entries = (d.size + d.block - 1) / d.block
	table, err := h.at(int64(min(tableAt, headLimit)), int(entries)*4)
	if err != nil {
		return err
	}
	d.bitmap = (d.block/sectorBytes/8 + sectorBytes - 1) / sectorBytes * sectorBytes
	for n := range entries {
		if at := binary.BigEndian.Uint32(table[n*4:]); at != vhdUnused {
			d.blocks = append(d.blocks, vhdBlock{n, int64(at) * sectorBytes})
		}
	}
	slices.SortFunc(d.blocks, func(a, b vhdBlock) int { return cmp.Compare(a.at, b.at) })
	end := int64(tableAt) + entries*4
	for _, b := range d.blocks {
		if b.at < end {
			return refusal(ErrHostile, "vhd has a block at %d, within another one or the tables", b.at)
		}
		end = b.at + d.bitmap + d.block
	}
	numbers := make([]int64, len(d.blocks))
	for i, b := range d.blocks {
		numbers[i] = b.number
	}
	d.tables = layOut(d.size, d.block, numbers)
	return nil
}

// least returns the minimum length of the file.
func (d *dynamicDisk) least() int64 {
	if len(d.blocks) == 0 {
		return 3 * sectorBytes
	}
	return d.blocks[len(d.blocks)-1].at + d.bitmap + d.block + sectorBytes
}

// bytes returns the length of the qcow2.
func (d *dynamicDisk) bytes() int64 { return d.tables.bytes() + int64(len(d.blocks))*d.block }

// convert reads the file from its first byte, and returns the qcow2.
func (d *dynamicDisk) convert(file io.Reader) io.Reader {
	return io.MultiReader(&d.tables, &vhdBlocks{disk: d, file: file})
}

// vhdBlocks reads the blocks of a dynamic VHD, in the order of the file.
type vhdBlocks struct {
	disk *dynamicDisk
	file io.Reader
	at   int64 // the position in the file
	next int   // block
	left int64 // remaining bytes of the current block
	err  error
}

// Read implements [io.Reader].
func (v *vhdBlocks) Read(p []byte) (int, error) {
	if v.err != nil {
		return 0, v.err
	}
	if v.left == 0 {
		if v.err = v.advance(); v.err != nil {
			return 0, v.err
		}
	}
	n, err := v.file.Read(p[:min(int64(len(p)), v.left)])
	v.at, v.left = v.at+int64(n), v.left-int64(n)
	v.err = cutShort(err)
	return n, v.err
}

// advance moves to the next block. It returns [io.EOF] after the last one if the file ends correctly.
func (v *vhdBlocks) advance() error {
	if v.next == len(v.disk.blocks) {
		return v.end()
	}
	to := v.disk.blocks[v.next].at + v.disk.bitmap
	n, err := io.CopyN(io.Discard, v.file, to-v.at)
	v.at += n
	if err != nil {
		return cutShort(err)
	}
	v.next, v.left = v.next+1, v.disk.block
	return nil
}

// end reads the rest of the file, which has to end with the footer.
func (v *vhdBlocks) end() error {
	last := &withheld{w: io.Discard}
	if _, err := io.Copy(last, v.file); err != nil {
		return err
	}
	footer := last.held[max(0, len(last.held)-sectorBytes):]
	if len(footer) < sectorBytes || string(footer[:8]) != "conectix" || vhdChecksum(footer) != binary.BigEndian.Uint32(footer[64:]) {
		return refusal(ErrLength, "vhd does not end in its footer: it is cut short")
	}
	return io.EOF
}

// cutShort turns an early end of the file into an error.
func cutShort(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return refusal(ErrLength, "vhd ends before its last block: it is cut short")
	}
	return err
}
