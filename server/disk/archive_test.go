package disk

import (
	"bytes"
	"strings"
	"testing"
)

// The files in testdata/archives were made of real/plain.raw (as disk.raw) and other files of testdata/real:
//
//	gce.tar.gz      tar --format=oldgnu -Sczf gce.tar.gz disk.raw
//	disk.tar.xz     tar -cJf disk.tar.xz disk.raw
//	disk.tar.zst    tar -c disk.raw | zstd -19
//	two.tar.gz      tar -czf two.tar.gz disk.raw other.raw
//	appliance.ova   tar --format=ustar -cf appliance.ova appliance.ovf appliance.mf appliance-disk1.vmdk (streamOptimized)
//	disk.zip        zip -9 disk.zip README.txt disk.raw
//	streamed.zip    zip -9 - README.txt disk.raw | cat
//	stored.zip      zip -0 stored.zip README.txt v3.qcow2
//	python.zip      zipfile.ZipFile("python.zip", "w", ZIP_DEFLATED), with a folder
//
// Those that end in .xz here were packed to keep them small.
func TestArchives(t *testing.T) {
	raw, vmdk, qcow2 := unxz(t, "real/plain.raw.xz"), unxz(t, "real/streamOptimized.vmdk.xz"), unxz(t, "real/v3.qcow2.xz")
	ova := unxz(t, "archives/appliance.ova.xz")
	for _, tt := range []struct {
		name    string
		packed  []byte
		format  Format
		member  string
		disk    []byte
		virtual int64 // known after Open
	}{
		{"gce.tar.gz", readFile(t, "archives/gce.tar.gz"), Raw, "disk.raw", raw, realDisk},
		{"disk.tar.xz", readFile(t, "archives/disk.tar.xz"), Raw, "disk.raw", raw, realDisk},
		{"disk.tar.zst", readFile(t, "archives/disk.tar.zst"), Raw, "disk.raw", raw, realDisk},
		{"appliance.ova", ova, VMDK, "appliance-disk1.vmdk", vmdk, realDisk},
		{"appliance.ova.gz", gzipped(t, ova), VMDK, "appliance-disk1.vmdk", vmdk, realDisk},
		{"disk.zip", readFile(t, "archives/disk.zip"), Raw, "disk.raw", raw, realDisk},
		{"streamed.zip", readFile(t, "archives/streamed.zip"), Raw, "disk.raw", raw, -1},
		{"stored.zip", unxz(t, "archives/stored.zip.xz"), QCOW2, "v3.qcow2", qcow2, realDisk},
		{"python.zip", readFile(t, "archives/python.zip"), Raw, "x/disk.raw", raw, realDisk},
		{"a compressed disk in an archive", archive(t, "README", "hi", "disk.img.gz", string(gzipped(t, raw))), Raw, "disk.img.gz", raw, -1},
		{"macOS's own files beside it", archive(t, "__MACOSX/._disk.img", string(rawDisk(4096)), "._disk.img", string(rawDisk(512)), "disk.img", string(raw)), Raw, "disk.img", raw, realDisk},
		{"a fixed vhd in an archive", archive(t, "disk.vhd", string(unxz(t, "real/fixed.vhd.xz"))), VHD, "disk.vhd", raw, -2},
		{"a disk without a name's ending that has a partition table", archive(t, "disk", string(mbrDisk(2*mib)), "nvram", string(rawDisk(mib))), Raw, "disk", mbrDisk(2 * mib), 2 * mib},
	} {
		t.Run(tt.name, func(t *testing.T) {
			src := Source{URL: serve(t, tt.packed), Checksum: sha256Of(tt.packed)} // of the published archive
			img, err := newOpener(t).Open(timeout(t), src)
			if err != nil {
				t.Fatal(err)
			}
			if tt.virtual >= -1 && img.VirtualBytes != tt.virtual {
				t.Errorf("virtual size is %d, want %d", img.VirtualBytes, tt.virtual)
			}
			img.Close()
			img, got := mustRead(t, newOpener(t), src)
			if !bytes.Equal(got, tt.disk) || img.Format != tt.format || img.Member != tt.member || img.Sum != src.Checksum {
				t.Errorf("got %d bytes of %s (%s), sum %s", len(got), img.Format, img.Member, img.Sum)
			}
			for _, bent := range [][]byte{tt.packed[:len(tt.packed)*3/4], changed(tt.packed, func(b []byte) { b[len(b)/2] ^= 0x10 })} {
				if _, got, err := read(t, newOpener(t), Source{URL: serve(t, bent), Checksum: src.Checksum}); err == nil || len(got) >= len(tt.disk) {
					t.Errorf("a damaged archive makes %d bytes, %v", len(got), err)
				}
			}
		})
	}
}

func TestArchivesWithSeveralDisks(t *testing.T) {
	raw, two := unxz(t, "real/plain.raw.xz"), readFile(t, "archives/two.tar.gz")
	o := newOpener(t)
	_, got, err := read(t, o, Source{URL: serve(t, two)})
	want(t, err, ErrUnsupported, `"disk.raw" "other.raw"`, "#disk.raw")
	if len(got) >= len(raw) {
		t.Errorf("%d bytes were passed on", len(got))
	}
	for _, name := range []string{"disk.raw", "other.raw"} {
		if img, got := mustRead(t, o, Source{URL: serve(t, two) + "#" + name}); img.Member != name || !bytes.Equal(got, raw) {
			t.Errorf("got %d bytes of %s", len(got), img.Member)
		}
	}
	_, err = o.Open(timeout(t), Source{URL: serve(t, two) + "#third.raw"})
	want(t, err, ErrNotFound, `no file "third.raw"`)
}

func TestArchivesWithoutADisk(t *testing.T) {
	hostile := string(unxz(t, "hostile/backing-passwd.qcow2.xz"))
	many := []string{}
	for range maxMembers + 1 {
		many = append(many, "etc/passwd", "root")
	}
	for _, tt := range []struct {
		name    string
		content []byte
		kind    error
		says    string
	}{
		{"tar", archive(t, "README", "hi"), ErrUnsupported, "tar archive contains no disk image"},
		{"tar.gz", gzipped(t, archive(t, "README", "hi")), ErrUnsupported, "tar archive contains no disk image"},
		{"the files of a system", archive(t, many...), ErrUnsupported, "among its first 500 files"},
		{"a link", archive(t, "disk.raw", "-> /etc/passwd"), ErrUnsupported, "no disk image"},
		{"a hostile disk", archive(t, "disk.qcow2", hostile), ErrHostile, "backing file"},
		{"a page", archive(t, "disk.raw", strings.Repeat("<html>\n", 1024)), ErrUnsupported, "no disk image"},
		{"zip without the rest", []byte("PK\x03\x04"), ErrCorrupt, "zip archive ends"},
		{"zip of nothing", append([]byte("PK\x05\x06"), make([]byte, 600)...), ErrUnsupported, "empty zip"},
		{"zip that is encrypted (zip -e)", zipHeader(zipEncrypted, zipDeflated), ErrUnsupported, "encrypted"},
		{"zip by Windows beyond 2 GiB", zipHeader(0, zipDeflate64), ErrUnsupported, "Deflate64"},
		{"zip with lzma (7z -tzip -mm=LZMA)", zipHeader(0, 14), ErrUnsupported, "method 14"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := read(t, newOpener(t), Source{URL: serve(t, tt.content)})
			want(t, err, tt.kind, tt.says)
		})
	}
}

// zipHeader returns the beginning of an archive with one file.
func zipHeader(flags, method uint16) []byte {
	b := make([]byte, 1024)
	copy(b, zipLocalHeader)
	le.PutUint16(b[6:], flags)
	le.PutUint16(b[8:], method)
	le.PutUint16(b[26:], 8)
	copy(b[zipHeaderBytes:], "disk.raw")
	return b
}

// A key distinguishes the files of an archive.
func TestKeyOfAFileInAnArchive(t *testing.T) {
	keys := map[string]string{}
	for _, url := range []string{"https://example.org/x.zip", "https://example.org/x.zip#a.raw", "https://example.org/x.zip#b.raw", "oci://example.org/x:1#a.raw"} {
		key, err := Key(Source{URL: url})
		if err != nil || keys[key] != "" {
			t.Errorf("%s and %s have the key %s, %v", url, keys[key], key, err)
		}
		keys[key] = url
	}
}

// FuzzArchive reads any input; it has to return, and every file is within the input.
func FuzzArchive(f *testing.F) {
	for _, name := range []string{"archives/disk.zip", "archives/streamed.zip", "archives/python.zip"} {
		f.Add(readFile(f, name))
	}
	f.Add(unxz(f, "archives/appliance.ova.xz")[:8*kib])
	f.Add(zipHeader(zipDescribed, zipDeflated))
	f.Fuzz(func(t *testing.T, content []byte) {
		kind, err := sniffArchive(&head{r: bytes.NewReader(content)})
		if err != nil || kind == noArchive {
			return
		}
		limited := &bounded{r: bytes.NewReader(content), most: int64(len(content))}
		pick := choice{in: "archive", most: maxMembers}
		found, err := pick.find(kind.open(limited))
		if err == nil && found != nil && found.name == "" {
			t.Error("a disk without a name")
		}
	})
}
