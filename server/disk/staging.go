package disk

import (
	"bufio"
	"context"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Staging places of migrations are on volumes that are mounted in this process: claims below [Options.StagingRoot], and NFS exports
// at any mount point.
const (
	stagingRoot = "/mnt/migration-storage"
	mountsFile  = "/proc/self/mountinfo"
)

// OpenStaged is Open for the staging places of migrations. In addition to s3, http and https it supports pvc://claim/path
// and nfs://server/export/path. Open does not: claims contain the disks of other users' migrations, and every user can write
// the URL of an image.
func (o *Opener) OpenStaged(ctx context.Context, src Source) (*Image, error) {
	return o.opened(ctx, src, o.stagedReference)
}

// stagedReference parses a URL of a staging place, and returns the local file of a mounted one.
func (o *Opener) stagedReference(raw string) (*url.URL, *localFile, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, nil, refusal(ErrInvalid, "url cannot be parsed")
	}
	switch strings.ToLower(u.Scheme) {
	case "pvc":
		file, err := o.claimFile(u)
		return u, file, err
	case "nfs":
		file, err := o.exportFile(u)
		return u, file, err
	case "s3", "http", "https":
		u, err = parseReference(raw)
		return u, nil, err
	}
	return nil, nil, refusal(ErrInvalid, "url scheme is %q, allowed are pvc, s3, nfs, http and https", u.Scheme)
}

// localFile is a file below a directory that it must not leave.
type localFile struct {
	dir, rel string
}

// claimFile returns the file of pvc://claim/path in its mount.
func (o *Opener) claimFile(u *url.URL) (*localFile, error) {
	rel, err := relative(u.Path)
	if err != nil {
		return nil, err
	}
	if u.Host == "" || u.Host == "." || u.Host == ".." || strings.ContainsAny(u.Host, `/\:`) {
		return nil, refusal(ErrInvalid, "pvc url names no claim, expected pvc://claim/path")
	}
	dir := filepath.Join(o.opts.StagingRoot, u.Host)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, refusal(ErrNotFound, "claim %s is not mounted at %s", u.Host, dir)
	}
	return &localFile{dir, rel}, nil
}

// exportFile returns the file of nfs://server/export/path in its mount. The export's path is a prefix of the URL's; of several
// matching mounts, the longest counts.
func (o *Opener) exportFile(u *url.URL) (*localFile, error) {
	full, err := relative(u.Path)
	if err != nil {
		return nil, err
	}
	mounts, err := o.nfsMounts()
	if err != nil {
		return nil, err
	}
	var best nfsMount
	var rel string
	for _, m := range mounts {
		below, err := filepath.Rel(m.export, "/"+full)
		if m.server == u.Hostname() && err == nil && filepath.IsLocal(below) && below != "." && len(m.export) >= len(best.export) {
			best, rel = m, below
		}
	}
	if best.dir == "" {
		return nil, refusal(ErrNotFound, "no export of NFS server %s that holds /%s is mounted here", u.Hostname(), full)
	}
	return &localFile{best.dir, rel}, nil
}

// relative returns a URL's path without its leading slash, which has to name a file within the directory.
func relative(p string) (string, error) {
	rel := strings.TrimPrefix(p, "/")
	if rel == "" || strings.HasSuffix(rel, "/") || path.Clean(rel) != rel || !filepath.IsLocal(rel) {
		return "", refusal(ErrInvalid, "url path %q names no file", p)
	}
	return rel, nil
}

// nfsMount is a mounted NFS export.
type nfsMount struct {
	server, export, dir string
}

// nfsMounts reads the kernel's list (proc_pid_mountinfo(5)): the file system's type and its source follow a dash.
func (o *Opener) nfsMounts() ([]nfsMount, error) {
	f, err := os.Open(o.opts.MountsFile)
	if err != nil {
		return nil, fileError(err)
	}
	defer f.Close()
	var mounts []nfsMount
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 2 || (right[0] != "nfs" && right[0] != "nfs4") {
			continue
		}
		server, export, ok := strings.Cut(right[1], ":/")
		if ok {
			mounts = append(mounts, nfsMount{strings.Trim(server, "[]"), path.Clean("/" + export), octal.Replace(left[4])})
		}
	}
	return mounts, lines.Err()
}

// octal decodes white space in the kernel's list.
var octal = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// NFSMounted reports whether any NFS export is mounted here.
func (o *Opener) NFSMounted() bool {
	mounts, err := o.nfsMounts()
	return err == nil && len(mounts) > 0
}
