package sim

import (
	"encoding/json"
	"path"
	"time"
)

func filesystemStat(c *call) (any, error) {
	var p string
	if err := c.args([]string{"path"}, &p); err != nil {
		return nil, err
	}
	switch {
	case p == "":
		return nil, invalid{{"path", "String should have at least 1 character", eINVAL}}
	case !path.IsAbs(p):
		return nil, fail(eINVAL, "%s: path must be absolute", p)
	case path.Clean(p) == "/mnt":
		return statRow("/mnt", &file{Dir: true, Mode: 0o755}, false), nil
	}
	if log := c.sim.logAt(path.Clean(p)); log != nil {
		return statRow(path.Clean(p), log, false), nil
	}
	f, d := c.sim.state.file(p)
	if f == nil {
		return nil, fail(eNOENT, "Path %s not found", p)
	}
	return statRow(path.Clean(p), f, path.Clean(p) == d.mountpoint() && !c.sim.state.locked(d)), nil
}

func filesystemList(c *call) (any, error) {
	var p string
	var filters, options json.RawMessage
	if err := c.args([]string{"path", "query_filters?", "query_options?"}, &p, &filters, &options); err != nil {
		return nil, err
	}
	s := &c.sim.state
	p = path.Clean(p)
	f, d := s.file(p)
	switch {
	case f == nil:
		return nil, fail(eNOENT, "Directory %s does not exist", p)
	case !f.Dir:
		return nil, fail(eNOTDIR, "Path %s is not a directory", p)
	}
	rows := []map[string]any{}
	for _, below := range userKeys(d.Files) {
		if full := path.Join(d.mountpoint(), below); path.Dir(full) == p {
			rows = append(rows, entryRow(full, d.Files[below], false))
		}
	}
	for _, child := range d.sorted() {
		if !child.Volume && path.Dir(child.mountpoint()) == p {
			rows = append(rows, entryRow(child.mountpoint(), &file{Dir: true, Mode: 0o755}, true))
		}
	}
	sub := *c
	sub.params = nil
	if len(c.params) > 1 {
		sub.params = c.params[1:]
	}
	return query(&sub, rows)
}

func entryRow(p string, f *file, mount bool) map[string]any {
	kind, bits, taken := "FILE", int64(0o100000), f.Data.stored*blockSize
	if f.Dir {
		kind, bits, taken = "DIRECTORY", 0o040000, 512
	}
	attributes := []string{}
	if mount {
		attributes = append(attributes, "MOUNT_ROOT")
	}
	return map[string]any{
		"name": path.Base(p), "path": p, "realpath": p, "type": kind, "size": f.Size,
		"allocation_size": taken, "mode": bits | f.Mode, "mount_id": 60, "acl": false,
		"uid": f.UID, "gid": f.GID, "is_mountpoint": mount, "is_ctldir": false,
		"attributes": attributes, "xattrs": []string{}, "zfs_attrs": []string{"ARCHIVE"},
	}
}

func statRow(p string, f *file, mount bool) map[string]any {
	row := entryRow(p, f, mount)
	for _, key := range []string{"name", "path", "xattrs", "zfs_attrs"} {
		delete(row, key)
	}
	seconds := float64(f.Modified.UnixNano()) / float64(time.Second)
	for _, key := range []string{"atime", "mtime", "ctime", "btime"} {
		row[key] = seconds
	}
	row["dev"], row["inode"], row["nlink"] = 60, 34, 1
	row["user"], row["group"] = owner(f.UID), owner(f.GID)
	return row
}

// owner returns the name of a user or a group; only root has one.
func owner(id int64) any {
	if id == 0 {
		return "root"
	}
	return nil
}
