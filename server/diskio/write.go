package diskio

import (
	"context"
	"errors"
	"io"

	"go.uber.org/zap"

	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/server/refusal"
)

// write makes the object. It sends the image of the NAS's qemu-img unchanged when it has the requested properties, and otherwise
// converts it in transit. The NAS exports an image again as raw if it cannot be read sequentially.
func (e *diskExport) write(ctx context.Context) (*disk.Upload, error) {
	if e.format == disk.Raw {
		return e.writeFrom(ctx, disk.Raw)
	}
	up, err := e.writeFrom(ctx, disk.QCOW2)
	if errors.Is(err, disk.ErrUnordered) {
		e.mover.log.Info("image of the NAS cannot be read sequentially; exporting the disk as raw", zap.String("disk", e.volume), zap.Error(err))
		up, err = e.writeFrom(ctx, disk.Raw)
	}
	return up, err
}

// writeFrom makes the object from an image that the NAS makes in a format.
func (e *diskExport) writeFrom(ctx context.Context, format disk.Format) (*disk.Upload, error) {
	file, err := e.extract(ctx, format)
	if err != nil {
		return nil, err
	}
	info, err := e.mover.nas.Files.Stat(ctx, file)
	if err != nil {
		return nil, err
	}
	i := nasImage{e, file, format, info.Size}
	switch {
	case e.format == disk.VMDK:
		return i.upload(ctx, info.Size+info.Size/50, func(w io.Writer, r io.Reader) error { return disk.WriteVMDK(w, r, format, e.bytes) })
	case e.compress || e.format != format:
		return i.compressed(ctx)
	}
	return i.upload(ctx, info.Size, i.copied)
}

// nasImage is the image of a disk as a file on the NAS.
type nasImage struct {
	e      *diskExport
	file   string
	format disk.Format
	bytes  int64 // the size of the file
}

// read passes the complete file to use.
func (i nasImage) read(ctx context.Context, use func(io.Reader) error) error {
	body, err := i.e.mover.nas.Files.Get(ctx, i.file)
	if err != nil {
		return err
	}
	return errors.Join(use(body), body.Close())
}

// copied sends the file unchanged.
func (i nasImage) copied(w io.Writer, r io.Reader) error {
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, make([]byte, copyBytes))
	if err == nil && n != i.bytes {
		err = refusal.Aborted("%s has %d bytes, and %d arrived", i.file, i.bytes, n)
	}
	return err
}

// copyBytes is the size of a copy buffer.
const copyBytes = 1 << 20

// compressed writes a compressed qcow2. Its tables precede the data, so compressed reads the file twice: first to learn the
// compressed sizes.
func (i nasImage) compressed(ctx context.Context) (*disk.Upload, error) {
	var plan *disk.CompressedQCOW2
	err := i.read(ctx, func(r io.Reader) (err error) {
		plan, err = disk.PlanQCOW2(r, i.format, i.e.bytes)
		return err
	})
	if err != nil {
		return nil, err
	}
	return i.upload(ctx, plan.Bytes(), func(w io.Writer, r io.Reader) error { return plan.WriteTo(w, r, i.format) })
}

// upload writes the object from the file. The object appears only after the complete file was read and written.
func (i nasImage) upload(ctx context.Context, most int64, write func(io.Writer, io.Reader) error) (*disk.Upload, error) {
	to := i.e.to
	to.MostBytes = most
	up, err := i.e.mover.opener.Create(ctx, to)
	if err != nil {
		return nil, err
	}
	err = i.read(ctx, func(r io.Reader) error { return write(up, r) })
	if err == nil {
		err = up.Commit()
	}
	return up, errors.Join(err, up.Abort())
}
