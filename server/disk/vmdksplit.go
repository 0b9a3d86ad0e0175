package disk

import (
	"cmp"
	"encoding/binary"
	"io"
	"slices"

	"github.com/klauspost/compress/zlib"
)

// splitParts are the sparse parts of a vmdk in an archive. They are rewritten as one streamOptimized vmdk: its grains may be in any
// order, as in the parts, and the tables follow the grains of each part.
type splitParts struct {
	disk    *partedDisk
	pick    choice
	current *member
	limit   int64 // the maximum size of the disk, in bytes

	to     *vmdkWriter
	tables map[int64]*[vmdkTableEntries]uint32 // the unwritten tables, by number
	base   int64                               // sectors of the previous parts
}

// unwrapSplit replaces the archive by the disk. Its size is known after its last part.
func (o *Opener) unwrapSplit(img *Image, parts *splitParts) error {
	parts.limit = o.opts.MaxVirtualBytes
	made := &written{write: parts.write}
	img.makers = append(img.makers, made)
	img.bounded = &bounded{r: made, most: fileLimit(o.opts.MaxVirtualBytes)}
	img.head, img.inner, img.LeastBytes = &head{r: img.bounded}, -1, 0
	img.Format, img.VirtualBytes = VMDK, -1
	img.shape = shape{virtual: -1, end: func([]byte, int64) (ending, error) {
		img.VirtualBytes = parts.base * sectorBytes
		return ending{}, nil
	}}
	return nil
}

// write reads all parts.
func (s *splitParts) write(w io.Writer) error {
	s.to, s.tables = &vmdkWriter{w: w, sectors: vmdkGrainSectors}, map[int64]*[vmdkTableEntries]uint32{}
	if err := s.to.open(zlib.BestSpeed); err != nil {
		return err
	}
	for {
		sectors, err := s.part(s.current)
		if err != nil {
			return err
		}
		s.base += sectors
		if err := s.flush(s.base / vmdkGrainSectors / vmdkTableEntries); err != nil {
			return err
		}
		if s.current, err = s.disk.following(s.pick, s.current, sectors*sectorBytes); err == io.EOF {
			return s.end()
		} else if err != nil {
			return err
		}
	}
}

// end writes the remaining tables, and the end of the vmdk.
func (s *splitParts) end() error {
	s.to.sectors = (s.base + vmdkGrainSectors - 1) / vmdkGrainSectors * vmdkGrainSectors
	if err := s.flush(s.to.sectors); err != nil {
		return err
	}
	return s.to.end()
}

// flush writes the tables below a number, which get no more grains.
func (s *splitParts) flush(below int64) error {
	done := []int64{}
	for n := range s.tables {
		if n < below {
			done = append(done, n)
		}
	}
	slices.Sort(done)
	for _, n := range done {
		s.to.current, s.to.table, s.to.used = n, *s.tables[n], true
		if err := s.to.closeTable(); err != nil {
			return err
		}
		delete(s.tables, n)
	}
	return nil
}

// splitGrain is a grain's number in its part, and its sector.
type splitGrain struct{ number, at int64 }

// part rewrites a part, and returns its length in sectors of the disk.
func (s *splitParts) part(file *member) (sectors int64, err error) {
	h := &head{r: file.Reader}
	first, err := h.at(0, sectorBytes)
	if err != nil {
		return 0, err
	}
	header := readVMDKHeader(first)
	if string(first[:4]) != "KDMV" {
		return 0, refusal(ErrCorrupt, "%s is not a sparse part of a vmdk", file.name)
	}
	switch {
	case header.grainSectors != vmdkGrainSectors || header.tableEntries != vmdkTableEntries || header.compression != 0:
		return 0, refusal(ErrUnsupported, "%s has grains of %d sectors in tables of %d, allowed are %d in %d without compression",
			file.name, header.grainSectors, header.tableEntries, vmdkGrainSectors, vmdkTableEntries)
	case header.capacity == 0 || header.capacity > uint64(s.limit/sectorBytes) || s.base*sectorBytes > s.limit:
		return 0, refusal(ErrTooLarge, "%s has %d sectors, the disk's limit is %d bytes", file.name, header.capacity, s.limit)
	case s.base%vmdkGrainSectors != 0:
		return 0, refusal(ErrUnsupported, "%s begins within a grain, at sector %d", file.name, s.base)
	}
	grains, err := splitGrains(h, header)
	if err != nil {
		return 0, err
	}
	return int64(header.capacity), s.grains(h.content(), grains)
}

// splitGrains reads the tables of a part, which precede its grains, and returns the grains in the order of the file.
func splitGrains(h *head, header vmdkHeader) ([]splitGrain, error) {
	directory, err := h.at(int64(min(header.directoryAt, headLimit))*sectorBytes, int(header.directoryBytes()))
	if err != nil {
		return nil, err
	}
	var grains []splitGrain
	for t := range int64(len(directory) / 4) {
		at := int64(binary.LittleEndian.Uint32(directory[t*4:]))
		if at == 0 {
			continue
		}
		table, err := h.at(at*sectorBytes, vmdkTableEntries*4)
		if err != nil {
			return nil, err
		}
		for n := range int64(vmdkTableEntries) {
			// Sector 1 represents a grain of zeros.
			if grain := int64(binary.LittleEndian.Uint32(table[n*4:])); grain > 1 {
				grains = append(grains, splitGrain{t*vmdkTableEntries + n, grain})
			}
		}
	}
	slices.SortFunc(grains, func(a, b splitGrain) int { return cmp.Compare(a.at, b.at) })
	return grains, nil
}

// grains reads the grains of a part.
func (s *splitParts) grains(file io.Reader, grains []splitGrain) error {
	at, p := int64(0), make([]byte, pieceBytes)
	for _, g := range grains {
		if g.at*sectorBytes < at {
			return refusal(ErrHostile, "vmdk has two grains in one place")
		}
		if _, err := io.CopyN(io.Discard, file, g.at*sectorBytes-at); err != nil {
			return ended(err)
		}
		// The last grain of a disk may be incomplete, as qemu-img writes it.
		n, err := io.ReadFull(file, p)
		if err != nil && err != io.ErrUnexpectedEOF {
			return ended(err)
		}
		clear(p[n:])
		at = g.at*sectorBytes + int64(n)
		if err := s.put(s.base/vmdkGrainSectors+g.number, p); err != nil {
			return err
		}
	}
	_, err := io.Copy(io.Discard, file)
	return err
}

// put writes a grain of the disk.
func (s *splitParts) put(n int64, p []byte) error {
	if allZero(p) {
		return nil
	}
	at, err := s.to.place(n, p)
	if err != nil {
		return err
	}
	table := s.tables[n/vmdkTableEntries]
	if table == nil {
		table = new([vmdkTableEntries]uint32)
		s.tables[n/vmdkTableEntries] = table
	}
	table[n%vmdkTableEntries] = at
	return nil
}

// written reads the output of a function, which starts with the first read.
type written struct {
	write func(io.Writer) error
	r     *io.PipeReader // nil before the first read
	done  chan struct{}
}

// Read implements [io.Reader].
func (w *written) Read(p []byte) (int, error) {
	if w.r == nil {
		r, to := io.Pipe()
		w.r, w.done = r, make(chan struct{})
		go func() {
			defer close(w.done)
			to.CloseWithError(w.write(to))
		}()
	}
	return w.r.Read(p)
}

// Close ends the writing, and waits for its end.
func (w *written) Close() error {
	if w.r == nil {
		return nil
	}
	err := w.r.Close()
	<-w.done
	return err
}
