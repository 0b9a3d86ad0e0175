package disk

import (
	"github.com/klauspost/compress/zstd"
)

// narrowWindow is the maximum window, in bytes, of a stream whose header does not state it, and of a stream inside a stream with a
// wide window.
const narrowWindow = 32 * mib

// windowOf returns the window in a compressed stream's first header, or zero if it has none.
func windowOf(kind Compression, h *head) int64 {
	switch kind {
	case Zstd:
		return zstdWindow(h)
	case XZ:
		return xzWindow(h)
	}
	return 0
}

// zstdWindow reads the header of the first frame. The window of a frame with one segment is its content size.
func zstdWindow(h *head) int64 {
	start, err := h.upTo(zstd.HeaderMaxSize)
	var header zstd.Header
	if err != nil || header.Decode(start) != nil || header.Skippable {
		return 0
	}
	if header.SingleSegment {
		return int64(min(header.FrameContentSize, 1<<62))
	}
	return int64(min(header.WindowSize, 1<<62))
}

// xzWindow reads the size of the dictionary from the last filter of the first block ("The .xz File Format", 5.3.1).
func xzWindow(h *head) int64 {
	const lzma2 = 0x21
	start, err := h.upTo(xzHeaderBytes + xzMaxHeader)
	if err != nil || len(start) <= xzHeaderBytes {
		return 0
	}
	header := start[xzHeaderBytes:]
	header = header[:min(len(header), (int(header[0])+1)*4)]
	for i := 2; i+2 < len(header); i++ {
		if header[i] == lzma2 && header[i+1] == 1 && header[i+2] <= 40 {
			bits := header[i+2]
			if bits == 40 {
				return 4*gib - 1
			}
			return (2 | int64(bits&1)) << (bits/2 + 11)
		}
	}
	return 0
}
