package disk

// shape is the form of an image according to its header.
type shape struct {
	// virtual is the size of the disk in bytes; −1 for plain images, whose length determines it.
	virtual int64
	// least is the minimum length of the file, if its header is correct.
	least int64
	// by names the source of least, for messages; empty: its header.
	by string
	// complete means that a file of least bytes is complete. Of other files only the total length shows whether they are.
	complete bool
	// end checks the image by its last bytes; nil if they have no meaning.
	end func(tail []byte, length int64) (ending, error)
}

// tailBytes is the length of the examined end of an image: the end of a streamOptimized vmdk. A VHD's footer and a dmg's trailer
// are the last 512 of these bytes.
const tailBytes = 1536

// ending is the result of a check of a file's last bytes.
type ending struct {
	format Format // empty: unchanged
	drop   int    // bytes at the end that are not part of the disk
}

// inspect reads the header of an image that begins like format, and refuses content that must not reach qemu-img.
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

// checkVirtual checks a disk's size against the limit; it accepts −1, because the size is then checked during the transfer.
func checkVirtual(size, limit int64) error {
	if size > limit || size < -1 {
		return refusal(ErrTooLarge, "virtual size is %d bytes, the limit is %d", uint64(size), limit)
	}
	return nil
}

// sectorBytes is the smallest disk, and the unit of most headers.
const sectorBytes = 512

// plainBytes is the part of a plain image that determines its length: the volume descriptor of a CD-ROM has the largest offset.
const plainBytes = isoPrimary + 2*kib

// inspectPlain handles images without a header. It checks that there is a disk at all, takes its length from its partition table if
// there is one, and checks its end.
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

// checkLeast refuses a file that is shorter than its content requires.
func (s shape) checkLeast(length int64) error {
	if length >= s.least {
		return nil
	}
	return refusal(ErrLength, "image has %d bytes, its %s refers to %d: it is cut short", length, orDefault(s.by, "header"), s.least)
}

// checkSectors refuses a disk that ends within a sector. No complete disk does, but other files and broken transfers do.
func checkSectors(format Format, length int64) error {
	if !format.plain() || length%sectorBytes == 0 {
		return nil
	}
	return refusal(ErrLength, "image has %d bytes, not whole sectors of %d: it is cut short, or no disk", length, sectorBytes)
}
