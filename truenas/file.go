package truenas

import (
	"context"
	"io/fs"
	"math"
	"time"
)

// Files uploads and downloads files. Both need a key with FULL_ADMIN. The API has no call that
// deletes a file.
type Files struct{ c *Client }

// FileInfo describes a file on the NAS.
type FileInfo struct {
	Path     string
	Type     string // FILE, DIRECTORY, SYMLINK or OTHER
	Size     int64  // bytes
	Mode     fs.FileMode
	UID, GID int64
	MTime    time.Time
}

type wireStat struct {
	RealPath string  `json:"realpath"`
	Type     string  `json:"type"`
	Size     int64   `json:"size"`
	Mode     uint32  `json:"mode"` // as in stat(2), with the type bits
	UID      int64   `json:"uid"`
	GID      int64   `json:"gid"`
	MTime    float64 `json:"mtime"` // seconds
}

var fileStat = method[wireStat]{"filesystem.stat", read}

// Stat needs the role FILESYSTEM_ATTRS_READ. A missing file is [ErrNotFound].
func (s Files) Stat(ctx context.Context, path string) (FileInfo, error) {
	w, err := fileStat.call(ctx, s.c, path)
	if err != nil {
		return FileInfo{}, err
	}
	sec, frac := math.Modf(w.MTime)
	info := FileInfo{
		Path: w.RealPath, Type: w.Type, Size: w.Size, UID: w.UID, GID: w.GID,
		Mode: fs.FileMode(w.Mode) & fs.ModePerm, MTime: time.Unix(int64(sec), int64(frac*1e9)).UTC(),
	}
	if w.Type == "DIRECTORY" {
		info.Mode |= fs.ModeDir
	}
	return info, nil
}

var fileList = method[[]struct {
	Name string `json:"name"`
}]{"filesystem.listdir", read}

// Folders lists the names of the subfolders of a folder, including mount points of other file
// systems. It needs the role FILESYSTEM_ATTRS_READ.
func (s Files) Folders(ctx context.Context, path string) ([]string, error) {
	entries, err := fileList.call(ctx, s.c, path, []Filter{Where("type", "DIRECTORY")})
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name
	}
	return names, nil
}
