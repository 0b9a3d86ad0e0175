package sim

import (
	"io"
	"path"
	"time"
)

// filesystemPut stores an upload as it arrives. If the connection breaks, the partial file remains.
func filesystemPut(c *call) (any, error) {
	var p string
	var o struct {
		Append bool   `json:"append"`
		Mode   *int64 `json:"mode" sim:"nullable"`
	}
	if err := c.args([]string{"path", "options"}, &p, &o); err != nil {
		return nil, err
	}
	var f *file
	var d *dataset
	var err error
	c.locked(func() { f, d, err = c.beginPut(p, o.Append, o.Mode) })
	if err != nil {
		return nil, err
	}
	buffer := make([]byte, 64*blockSize)
	for {
		n, readErr := io.ReadFull(c.body, buffer)
		c.locked(func() { err = c.grow(d, f, buffer[:n]) })
		switch {
		case err != nil:
			return nil, err
		case readErr == io.EOF || readErr == io.ErrUnexpectedEOF:
			return true, nil
		case readErr != nil:
			return nil, fail(eIO, "the upload of %s broke off: %v", p, readErr)
		}
	}
}

func (c *call) beginPut(p string, more bool, mode *int64) (*file, *dataset, error) {
	c.sim.state.makeFolders(p, c.now())
	d, below, err := c.sim.state.folderOf(p)
	if err != nil {
		return nil, nil, err
	}
	f := d.Files[below]
	if f == nil || !more {
		f = &file{Mode: 0o644, Modified: c.now()}
		d.store(below, f)
	}
	if mode != nil {
		f.Mode = *mode & 0o7777
	}
	c.sim.state.touch(d)
	return f, d, nil
}

// makeFolders makes the missing folders above a path, as an upload does (rule 13). After the destruction of a dataset an upload
// so leaves a folder in its place, which no call can remove.
func (s *state) makeFolders(p string, now time.Time) {
	d, below := s.locate(p)
	if d == nil || s.locked(d) {
		return
	}
	for at := path.Dir(below); at != "." && d.Files[at] == nil; at = path.Dir(at) {
		d.store(at, &file{Dir: true, Mode: 0o755, Modified: now})
	}
	s.touch(d)
}

func (c *call) grow(d *dataset, f *file, p []byte) error {
	if err := c.sim.state.checkSpace(d, int64(len(p))); err != nil {
		return err
	}
	before := f.Data.stored
	f.Data.writeAt(p, f.Size)
	f.Size += int64(len(p))
	f.Modified = c.now()
	c.sim.state.grew(d, (f.Data.stored-before)*blockSize)
	return nil
}

func filesystemGet(c *call) (any, error) {
	var p string
	if err := c.args([]string{"path"}, &p); err != nil {
		return nil, err
	}
	var data contents
	size := int64(-1)
	c.locked(func() {
		if f, _ := c.sim.state.file(p); f != nil && !f.Dir {
			data, size = f.Data.frozen(), f.Size
		}
	})
	if size < 0 {
		return nil, fail(eNOENT, "File does not exist: %s", p)
	}
	_, err := io.Copy(c.out, io.NewSectionReader(frozenReader{data}, 0, size))
	return nil, err
}

// frozenReader reads frozen contents, which have no end.
type frozenReader struct{ data contents }

func (r frozenReader) ReadAt(p []byte, off int64) (int, error) {
	r.data.readAt(p, off)
	return len(p), nil
}
