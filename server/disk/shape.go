package disk

// shape is what an image's header says about the rest of it.
type shape struct {
	// virtual is the size of the disk in bytes; −1 for plain images, whose length says it.
	virtual int64
	// least is how many bytes the file has at least, if its header tells the truth.
	least int64
	// end judges the image by its last bytes; nil when they say nothing.
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

// inspectPlain has no header to look at: it sees to it that there is a disk at all, and looks at the end.
func inspectPlain(h *head, format, announced Format) (shape, error) {
	start, err := h.upTo(sectorBytes)
	if err != nil {
		return shape{}, err
	}
	if len(start) < sectorBytes {
		return shape{}, refusal(ErrUnsupported, "content has %d bytes, a disk has at least one sector of %d", len(start), sectorBytes)
	}
	return shape{virtual: -1, end: plainEnding(format, announced)}, nil
}
