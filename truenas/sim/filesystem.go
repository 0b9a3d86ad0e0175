package sim

import (
	"path"
	"strconv"
	"strings"
)

// filesystemMethods lists the methods of files. TrueNAS has none that deletes a file.
var filesystemMethods = map[string]method{
	"filesystem.put":     {roles: []string{fullAdmin}, job: true, input: true, run: filesystemPut},
	"filesystem.get":     {roles: []string{fullAdmin}, job: true, output: true, run: filesystemGet},
	"filesystem.stat":    {roles: []string{"FILESYSTEM_ATTRS_READ"}, run: filesystemStat},
	"filesystem.listdir": {roles: []string{"FILESYSTEM_ATTRS_READ"}, run: filesystemList},
	"filesystem.mkdir":   {roles: []string{"FILESYSTEM_DATA_WRITE"}, run: filesystemMkdir},
	"filesystem.setperm": {roles: []string{"FILESYSTEM_ATTRS_WRITE"}, job: true, run: filesystemSetperm},
}

// isBelow reports whether a path is below a folder, at any depth.
func isBelow(p, folder string) bool { return strings.HasPrefix(p, folder+"/") }

// locate returns the file system of a path and the path below its root, which is "" for the root itself.
func (s *state) locate(p string) (*dataset, string) {
	p = path.Clean(p)
	for dir := p; strings.HasPrefix(dir, "/mnt/"); dir = path.Dir(dir) {
		if d := s.Datasets[strings.TrimPrefix(dir, "/mnt/")]; d != nil && !d.Volume {
			return d, strings.TrimPrefix(strings.TrimPrefix(p, dir), "/")
		}
	}
	return nil, ""
}

// file returns the file at a path. The root of a file system is a folder.
func (s *state) file(p string) (*file, *dataset) {
	d, below := s.locate(p)
	switch {
	case d == nil:
		return nil, nil
	case below == "":
		return &file{Dir: true, Mode: 0o755, Modified: d.Created}, d
	case s.locked(d):
		return nil, nil // The file system is not mounted.
	}
	return d.Files[below], d
}

func (d *dataset) store(below string, f *file) {
	if d.Files == nil {
		d.Files = map[string]*file{}
	}
	d.Files[below] = f
}

func (s *state) unlink(p string) {
	if d, below := s.locate(p); d != nil {
		delete(d.Files, below)
		s.touch(d)
	}
}

// folderOf checks that the folder of a path exists.
func (s *state) folderOf(p string) (*dataset, string, error) {
	d, below := s.locate(p)
	if d == nil || below == "" {
		return nil, "", fail(eINVAL, "%s: path must lie in a dataset under /mnt", p)
	}
	if s.locked(d) {
		return nil, "", fail(eINVAL, "Unable to put contents at '%s' as the path exists on a locked dataset", p)
	}
	if f, _ := s.file(path.Dir(path.Clean(p))); f == nil || !f.Dir {
		return nil, "", uncaught("FileNotFoundError", "[Errno 2] No such file or directory: '%s'", p)
	}
	if f := d.Files[below]; f != nil && f.Dir {
		return nil, "", uncaught("IsADirectoryError", "[Errno 21] Is a directory: '%s'", p)
	}
	return d, below, nil
}

func filesystemMkdir(c *call) (any, error) {
	var p struct {
		Path    string `json:"path" sim:"required,minlen=1"`
		Options struct {
			Mode  string `json:"mode"`
			Raise bool   `json:"raise_chmod_error"`
		} `json:"options"`
	}
	p.Options.Mode = "755"
	name := "filesystem_mkdir"
	if c.release() >= v27 {
		name = "data"
	}
	if err := c.args([]string{name}, &p); err != nil {
		return nil, err
	}
	s := &c.sim.state
	mode, err := fileMode(name+".options.mode", p.Options.Mode)
	if err != nil {
		return nil, err
	}
	switch f, _ := s.file(p.Path); {
	case !path.IsAbs(p.Path):
		return nil, fail(eINVAL, "%s: not an absolute path.", p.Path)
	case f != nil:
		return nil, fail(eEXIST, "%s: path already exists.", p.Path)
	case !strings.HasPrefix(path.Clean(p.Path), "/mnt/"):
		return nil, fail(ePERM, "%s: path not permitted", p.Path)
	}
	d, below, err := s.folderOf(p.Path)
	if err != nil {
		return nil, err
	}
	f := &file{Dir: true, Mode: mode, Modified: c.now()}
	d.store(below, f)
	s.touch(d)
	return entryRow(path.Clean(p.Path), f, false), nil
}

// fileMode parses permissions: three octal digits.
func fileMode(at, text string) (int64, error) {
	bits, err := strconv.ParseInt(text, 8, 32)
	if err != nil || bits < 0 || bits > 0o777 || len(text) != 3 {
		return 0, invalid{{at, "Value error, Not a valid integer. Must be between 000 and 777", eINVAL}}
	}
	return bits, nil
}

func filesystemSetperm(c *call) (any, error) {
	var p struct {
		Path    string  `json:"path" sim:"required,minlen=1"`
		UID     *int64  `json:"uid" sim:"nullable,min=-1,max=2147483647"`
		User    *string `json:"user" sim:"nullable,minlen=1"`
		GID     *int64  `json:"gid" sim:"nullable,min=-1,max=2147483647"`
		Group   *string `json:"group" sim:"nullable,minlen=1"`
		Mode    *string `json:"mode" sim:"nullable"`
		Options struct {
			Recursive bool `json:"recursive"`
			Traverse  bool `json:"traverse"`
			StripACL  bool `json:"stripacl"`
		} `json:"options"`
	}
	if err := c.args([]string{"filesystem_setperm"}, &p); err != nil {
		return nil, err
	}
	var err error
	c.locked(func() { err = c.sim.state.setperm(p.Path, p.Mode, p.UID, p.GID) })
	return nil, err
}

func (s *state) setperm(p string, mode *string, uid, gid *int64) error {
	f, _ := s.file(p)
	if f == nil {
		return fail(eNOENT, "Path %s not found", p)
	}
	if mode != nil {
		bits, err := fileMode("filesystem_setperm.mode", *mode)
		if err != nil {
			return err
		}
		f.Mode = bits
	}
	for _, id := range []struct{ to, from *int64 }{{&f.UID, uid}, {&f.GID, gid}} {
		if id.from != nil && *id.from >= 0 {
			*id.to = *id.from
		}
	}
	return nil
}
