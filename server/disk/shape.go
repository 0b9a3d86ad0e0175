package disk

// shape is what an image's header says about the rest of it.
type shape struct {
	// virtual is the size of the disk in bytes; −1 for plain images, whose length says it.
	virtual int64
	// least is how many bytes the file has at least, if its header is correct.
	least int64
	// by names the source of least, for messages; empty: its header.
	by string
	// complete means that a file of least bytes is complete. For other files only the length shows whether they are.
	complete bool
	// end judges the image by its last bytes; nil when they have no meaning.
	end func(tail []byte, length int64) (ending, error)
}

// tailBytes is how much of an image's end is looked at: what a streamOptimized vmdk closes with. A VHD's footer and
// a dmg's trailer are the last 512 of them.
const tailBytes = 1536

// ending is what the last bytes of a file reveal.
type ending struct {
	format Format // empty: what it was before
	drop   int    // bytes at the end that are not the disk's
}

// inspect reads the header of an image that begins like format, and refuses what must not reach qemu-img.
func inspect(h *head, format, announced Format, limit int64) (shape, error) {
	var (
		s   shape
		err error
	)
	switch format {
	case QCOW2:
		s, err = inspectQCOW2(h)
	case VMDK:
		s, err = inspectVMDK(h)
	case VDI:
		s, err = inspectVDI(h)
	case VHDX:
		s, err = inspectVHDX(h)
	default:
		s, err = inspectPlain(h, format, announced)
	}
	if err != nil {
		return shape{}, err
	}
	if s.virtual == 0 {
		return shape{}, refusal(ErrCorrupt, "virtual size is 0")
	}
	return s, checkVirtual(s.virtual, limit)
}

// checkVirtual holds a disk's size against the limit; −1 passes, since it is checked as the bytes come.
func checkVirtual(size, limit int64) error {
	if size > limit || size < -1 {
		return refusal(ErrTooLarge, "virtual size is %d bytes, the limit is %d", uint64(size), limit)
	}
	return nil
}

// sectorBytes is the smallest disk, and the unit of most headers.
const sectorBytes = 512

// plainBytes is the part of a plain image that determines its length: the volume descriptor of a CD-ROM lies furthest.
const plainBytes = isoPrimary + 2*kib

// inspectPlain has no header to look at. It makes sure that there is a disk at all, takes its length from its partition
// table where it has one, and looks at its end.
func inspectPlain(h *head, format, announced Format) (shape, error) {
	start, err := h.upTo(plainBytes)
	if err != nil {
		return shape{}, err
	}
	if len(start) < sectorBytes {
		return shape{}, refusal(ErrUnsupported, "content has %d bytes, a disk has at least one sector of %d", len(start), sectorBytes)
	}
	size := measured(start, format)
	return shape{virtual: -1, least: size.least, by: size.by, complete: size.complete, end: plainEnding(format, announced)}, nil
}

// checkLeast refuses a file that is shorter than its content says.
func (s shape) checkLeast(length int64) error {
	if length >= s.least {
		return nil
	}
	return refusal(ErrLength, "image has %d bytes, its %s refers to %d: it is cut short", length, orDefault(s.by, "header"), s.least)
}

// checkSectors refuses a disk that ends within a sector. No disk does; files that are something else do, and transfers
// that broke.
func checkSectors(format Format, length int64) error {
	if !format.plain() || length%sectorBytes == 0 {
		return nil
	}
	return refusal(ErrLength, "image has %d bytes, not whole sectors of %d: it is cut short, or no disk", length, sectorBytes)
}
