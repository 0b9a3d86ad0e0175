package disk

// newQCOW2 is the smallest complete qcow2 of version 3: a disk of 1 MiB in clusters of 64 KiB, all of it empty.
// change may spoil the header.
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
