package disk

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
)

// unwrap detects the compression, and puts a decoder between the download and the image.
func (o *Opener) unwrap(ctx context.Context, img *Image) error {
	packed := &head{r: img.meter}
	kind, err := sniffCompression(packed)
	if err != nil {
		return err
	}
	img.Compression = kind
	if kind == Zstd {
		if img.LeastBytes, err = zstdContent(packed); err != nil {
			return err
		}
	}
	window := windowOf(kind, packed)
	if img.from.wide {
		window = min(window, narrowWindow)
	}
	img.claim = func(kind Compression, window int64) (granted int64, err error) {
		granted, _, err = o.claimDecoder(ctx, kind, window)
		return granted, err
	}
	if window, err = img.claim(kind, window); err != nil {
		return err
	}
	img.intake = &intake{r: packed.content()}
	img.bounded, err = o.decode(img, kind, img.intake, window)
	if err != nil {
		return err
	}
	img.head = &head{r: img.bounded}
	return nil
}

// decode unpacks the data from in.
func (o *Opener) decode(img *Image, kind Compression, in *intake, window int64) (*bounded, error) {
	decoder, err := newDecoder(kind, in, window, o.pairing)
	unpacked := &unpacked{kind: kind, decoder: decoder, in: in, window: window}
	if err != nil {
		return nil, unpacked.sorted(err)
	}
	img.decoders = append(img.decoders, unpacked)
	return &bounded{r: unpacked, in: in, most: fileLimit(o.opts.MaxVirtualBytes), ratio: o.opts.MaxExpansion}, nil
}

// unpack finds the disk in an archive, if the image is one.
func (o *Opener) unpack(img *Image) error {
	kind, err := sniffArchive(img.head)
	if err != nil || kind == noArchive {
		return err
	}
	img.bounded.most *= 2 // the archive may contain other files than the disk
	pick := choice{file: img.choose, in: string(kind) + " archive", most: maxMembers}
	files := &partedDisk{members: kind.open(img.head.content())}
	found, err := pick.find(files)
	if err != nil {
		return err
	}
	if found == nil {
		return pick.none()
	}
	img.Member, img.packing = found.name, kind
	if img.choose == "" && files.begins(found.name) {
		if files.sparse {
			return o.unwrapSplit(img, &splitParts{disk: files, pick: pick, current: found})
		}
		return o.unwrapMember(img, &flatParts{disk: files, pick: pick, current: found}, -1)
	}
	rest := func() error { return pick.only(found.name, files) }
	return o.unwrapMember(img, &chosen{r: found.Reader, rest: rest}, found.size)
}

// unwrapMember replaces the archive by the disk in it, which may be compressed again.
func (o *Opener) unwrapMember(img *Image, r io.Reader, size int64) error {
	packed := &head{r: r}
	kind, err := sniffCompression(packed)
	if err != nil {
		return err
	}
	window, err := img.claim(kind, min(windowOf(kind, packed), narrowWindow))
	if err != nil {
		return err
	}
	in := &intake{r: packed.content()}
	outer := img.bounded
	img.bounded, err = o.decode(img, kind, in, window)
	if err != nil {
		return err
	}
	img.LeastBytes, img.inner = 0, -1
	if kind == Uncompressed {
		img.inner = size
		img.bounded.in = outer.in
	}
	img.head = &head{r: img.bounded}
	return nil
}

// fileLimit returns the maximum length of the file of a disk of at most limit bytes. Formats with metadata take more space than the
// disk, and those with snapshots more than once.
func fileLimit(limit int64) int64 { return limit + limit/2 + 64*mib }

// identify detects the format, and reads the header.
func (o *Opener) identify(img *Image) error {
	if img.Format != "" {
		return nil // This package makes the format itself.
	}
	format, err := recognise(img.head, img.announced)
	if err != nil {
		return err
	}
	if format == dynamicVHD {
		return o.convertVHD(img)
	}
	img.Format = format
	img.shape, err = inspect(img.head, format, img.announced, o.opts.MaxVirtualBytes)
	if err != nil {
		return err
	}
	img.VirtualBytes = img.shape.virtual
	if err := errors.Join(img.checkVerifiable(), img.servedAs()); err != nil {
		return err
	}
	if format.plain() {
		img.bounded.most = o.opts.MaxVirtualBytes + sectorBytes // the footer of a VHD is not part of the disk
	}
	return nil
}

// convertVHD replaces a dynamic VHD by a qcow2.
func (o *Opener) convertVHD(img *Image) error {
	vhd, err := readDynamicVHD(img.head, o.opts.MaxVirtualBytes)
	if err != nil {
		return err
	}
	if img.Compression == Uncompressed && img.packing == noArchive && img.from.size >= 0 && img.from.size < vhd.least() {
		return refusal(ErrLength, "image has %d bytes, its block table refers to %d: it is cut short", img.from.size, vhd.least())
	}
	img.packing, img.inner = vhdPacking, vhd.bytes()
	img.bounded = &bounded{r: vhd.convert(img.head.content()), most: fileLimit(o.opts.MaxVirtualBytes)}
	img.head, img.announced = &head{r: img.bounded}, ""
	return o.identify(img)
}

// checkVerifiable refuses an image whose completeness cannot be verified: the server neither announces its length nor marks its
// end, there is no checksum, and the content does not show where it ends.
func (i *Image) checkVerifiable() error {
	switch {
	case i.from.sized || i.checksum.want != "" || i.Compression != Uncompressed || i.packing != noArchive:
		return nil
	case i.shape.complete || i.shape.end != nil && !i.Format.plain():
		return nil
	}
	return refusal(ErrLength, "the server sends no Content-Length, so a truncated transfer cannot be detected: give a checksum")
}

// servedAs refuses content with the media type of a page that does not look like a disk either.
func (i *Image) servedAs() error {
	kind, _, _ := strings.Cut(i.from.mediaType, ";")
	if i.Format != Raw || i.shape.by != "" || !slices.Contains(pageTypes, strings.ToLower(strings.TrimSpace(kind))) {
		return nil
	}
	return notADisk(signature{name: "a page of type " + kind, advice: pageAdvice})
}

// pageTypes are the media types of pages. No server uses them for disk images, whereas some use text/plain for all unknown files.
var pageTypes = []string{"text/html", "application/xhtml+xml", "application/json", "application/problem+json", "application/xml", "text/xml"}

// measure determines the length of the image if possible, and refuses an image that is too long or too short.
func (o *Opener) measure(img *Image) error {
	switch {
	case img.packing != noArchive:
		img.file = img.inner
	case img.Compression == Uncompressed:
		img.file = img.from.size
	case img.Compression == XZ && img.from.at != nil:
		length, err := xzContent(img.from.at, img.from.size)
		if err != nil && !errors.Is(err, ErrUnavailable) {
			return err
		}
		img.file = length
	}
	img.LeastBytes = max(img.LeastBytes, img.file, 0)
	switch {
	case img.LeastBytes > img.bounded.most:
		return refusal(ErrTooLarge, "image has at least %d bytes, the limit is %d", img.LeastBytes, img.bounded.most)
	case img.Compression != Uncompressed && img.DownloadBytes >= 0 && img.LeastBytes > expansionGrace &&
		float64(img.LeastBytes) > o.opts.MaxExpansion*float64(img.DownloadBytes):
		return refusal(ErrTooLarge, "image expands more than %.0f-fold, the limit", o.opts.MaxExpansion)
	}
	if img.file >= 0 {
		if err := errors.Join(img.shape.checkLeast(img.file), checkSectors(img.Format, img.file)); err != nil {
			return err
		}
	}
	img.LeastBytes = max(img.LeastBytes, img.shape.least)
	img.estimateBytes()
	return nil
}

// estimateBytes computes the number of bytes to write from the length of the file, as far as it does not depend on its end.
func (i *Image) estimateBytes() {
	footer := int64(0)
	if i.Format == VHD {
		footer = sectorBytes
	}
	if i.Format.plain() && i.file >= 0 {
		i.VirtualBytes = i.file - footer
	}
	if i.file >= 0 && (!i.Format.plain() || i.announced != "") {
		i.Bytes = i.file - footer
	}
}

// lookAtEnd reads the last bytes of an image before the others, if possible. They are checked again when they arrive.
func (o *Opener) lookAtEnd(img *Image) error {
	if img.Compression != Uncompressed || img.packing != noArchive || img.from.at == nil || img.shape.end == nil {
		return nil
	}
	tail := make([]byte, min(tailBytes, img.file))
	_, err := img.from.at.ReadAt(tail, img.file-int64(len(tail)))
	if errors.Is(err, ErrUnavailable) {
		return nil
	}
	if err != nil && err != io.EOF {
		return err
	}
	return img.settle(tail, img.file)
}
