package disk

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"unicode/utf16"
)

// filled returns a file with this beginning, followed by meaningless bytes.
func filled(begins string) []byte {
	content := bytes.Repeat([]byte{0x01, 0x80, 0x00, 0xfe}, 2048)
	copy(content, begins)
	return content
}

// Files that users give by mistake, each with the recipe for such a file. Each is refused by its kind, announced as raw or not,
// packed or not.
func TestOtherFilesAreRefusedByName(t *testing.T) {
	page := "<!DOCTYPE html>\n<html><head><title>Log in</title></head><body>" + strings.Repeat("<p>please</p>\n", 1000) + "</body></html>\n"
	sum := strings.Repeat("5f", 32)
	for _, tt := range []struct {
		recipe  string
		content []byte
		says    string
	}{
		{"curl https://forum.example/", []byte(page), "an HTML page"},
		{"the same after white space", []byte("\r\n\t  " + page), "an HTML page"},
		{"the same after a byte order mark", []byte("\xef\xbb\xbf" + page), "an HTML page"},
		{"the same after a comment", []byte("<!-- cached\n-->\n<!-- twice -->" + page), "an HTML page"},
		{"the same in capitals", []byte(strings.ToUpper(page)), "an HTML page"},
		{"the same as XHTML", []byte(`<?xml version="1.0"?>` + "\n" + page), "an HTML page"},
		{"the same in UTF-16 (iconv -t UTF-16LE)", utf16le("\ufeff" + page), "an HTML page"},
		{"curl of an S3 error", []byte(`<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>`), "an XML or HTML document"},
		{"curl of an API", []byte(` {"message": "Not Found", "documentation_url": "https://docs.example"}`), "a JSON document"},
		{"curl of an API that lists", []byte(`[{"name": "disk.raw"}]`), "a JSON document"},
		{"echo not found", []byte("not found\n"), "plain text"},
		{"a text of 8 KiB", []byte(strings.Repeat("Grüße aus dem Lesemich\n", 400)[:8192]), "plain text"},
		{"sha256sum *.img", []byte(sum + "  disk.img\n" + sum + " *other.img\n"), "a list of checksums"},
		{"sha256sum --tag *.img", []byte("# made today\nSHA256 (disk.img) = " + sum + "\n"), "a list of checksums"},
		{"gpg --clearsign SHA256SUMS", []byte("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n" + sum + "  disk.img\n"), "a PGP-signed text"},
		{"gpg --armor --detach-sign disk.img", []byte("-----BEGIN PGP SIGNATURE-----\n\niQIz\n-----END PGP SIGNATURE-----\n"), "a PGP signature"},
		{"cat user-data", []byte("#cloud-config\nusers: []\n"), "cloud-init user data"},
		{"cat install.sh", []byte("#!/bin/sh\nexit 0\n"), "a script"},
		{"tar xf appliance.ova appliance.ovf", []byte(`<?xml version="1.0"?><Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1">`), "an OVF descriptor"},
		{"xz --format=lzma disk.img", filled("\x5d\x00\x00\x80\x00\xff\xff\xff\xff\xff\xff\xff\xff"), "lzma"},
		{"lzop disk.img", filled("\x89LZO\x00\x0d\x0a\x1a\x0a"), "lzop"},
		{"lzip disk.img", filled("LZIP\x01"), "lzip"},
		{"compress disk.img", filled("\x1f\x9d\x90"), ".Z"},
		{"lz4 disk.img", filled("\x04\x22\x4d\x18"), "lz4"},
		{"rar a disk.rar disk.img", filled("Rar!\x1a\x07\x01\x00"), "rar"},
		{"lcab disk.img disk.cab", filled("MSCF\x00\x00\x00\x00"), "cab"},
		{"wimcapture . install.wim", filled("MSWIM\x00\x00\x00\xd0"), "WIM"},
		{"7z a disk.7z disk.img", filled("7z\xbc\xaf\x27\x1c"), "7z"},
		{"dpkg-deb --build folder", filled("!<arch>\ndebian-binary   1404000000"), ".deb"},
		{"rpmbuild", filled("\xed\xab\xee\xdb\x03\x00"), "rpm"},
		{"img2simg disk.img sparse.img", filled("\x3a\xff\x26\xed\x01\x00\x00\x00"), "Android sparse image"},
		{"mksquashfs folder root.squashfs", filled("hsqs"), "squashfs"},
		{"find . | cpio -o -H newc", filled("07070100000000"), "cpio"},
		{"vzdump", filled("VMA\x00\x00\x00\x00\x01"), "Proxmox"},
		{"objcopy of a unified kernel image", peFile(), "EFI program"},
		{"transmission-create disk.img", []byte("d8:announce35:udp://tracker.example:80/announce"), "torrent"},
		{"a PDF", filled("%PDF-1.7\n"), "PDF"},
	} {
		t.Run(tt.recipe, func(t *testing.T) {
			o := newOpener(t)
			for _, format := range []string{"", "raw"} {
				_, err := o.Open(timeout(t), Source{URL: serve(t, tt.content), Format: format})
				want(t, err, ErrUnsupported, tt.says)
				_, err = o.Open(timeout(t), Source{URL: serve(t, gzipped(t, tt.content)), Format: format})
				want(t, err, ErrUnsupported, tt.says)
			}
		})
	}
}

func utf16le(text string) []byte {
	var out []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		out = binary.LittleEndian.AppendUint16(out, unit)
	}
	return out
}

func peFile() []byte {
	content := filled("MZ")
	le.PutUint32(content[60:], 0x80)
	copy(content[0x80:], "PE\x00\x00\x64\x86")
	return content
}

// gptDisk returns the result of "sgdisk -n 1:0:0" for a file of that many bytes.
func gptDisk(size int) []byte {
	b := rawDisk(size)
	last := uint64(size/sectorBytes - 1)
	clear(b[:34*sectorBytes])
	entry := b[mbrEntries:]
	entry[4] = mbrProtective
	le.PutUint32(entry[8:], 1)
	le.PutUint32(entry[12:], uint32(last))
	b[mbrSignatureAt], b[mbrSignatureAt+1] = 0x55, 0xaa
	for _, h := range []struct{ at, other uint64 }{{1, last}, {last, 1}} {
		header := b[h.at*sectorBytes:]
		copy(header, gptSignature)
		le.PutUint64(header[24:], h.at)
		le.PutUint64(header[32:], h.other)
		le.PutUint64(header[40:], 34)
		le.PutUint64(header[48:], last-33)
	}
	return b
}

// mbrDisk returns the result of "parted mklabel msdos mkpart primary 1MiB 100%" for a file of that many bytes.
func mbrDisk(size int) []byte {
	b := rawDisk(size)
	clear(b[:sectorBytes])
	entry := b[mbrEntries:]
	entry[0], entry[4] = 0x80, 0x83
	le.PutUint32(entry[8:], 2048)
	le.PutUint32(entry[12:], uint32(size/sectorBytes-2048))
	b[mbrSignatureAt], b[mbrSignatureAt+1] = 0x55, 0xaa
	return b
}

// isoDisk returns the result of genisoimage up to the first volume descriptor.
func isoDisk(size int) []byte {
	b := make([]byte, size)
	descriptor := b[isoPrimary:]
	copy(descriptor, "\x01CD001\x01")
	le.PutUint32(descriptor[80:], uint32(size/2048))
	le.PutUint16(descriptor[128:], 2048)
	return b
}

func TestTruncatedDisks(t *testing.T) {
	fat := rawDisk(mib) // mkfs.vfat: signature, and code where a table would be
	copy(fat[54:], "FAT16   ")
	fat[mbrSignatureAt], fat[mbrSignatureAt+1] = 0x55, 0xaa
	for _, tt := range []struct {
		name string
		disk []byte
		by   string // the source of its length; empty: none
	}{
		{"gpt", gptDisk(4 * mib), "GPT"},
		{"mbr", mbrDisk(4 * mib), "MBR"},
		{"iso", isoDisk(4 * mib), "ISO 9660"},
		{"a file system without a table", fat, ""},
		{"nothing in particular", rawDisk(mib), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := newOpener(t)
			for _, whole := range [][]byte{tt.disk, gzipped(t, tt.disk), append(bytes.Clone(tt.disk), make([]byte, mib)...)} {
				mustRead(t, o, Source{URL: serve(t, whole)})
			}
			for _, cut := range []int{sectorBytes, mib / 2} {
				half := tt.disk[:len(tt.disk)-cut]
				for _, served := range [][]byte{half, gzipped(t, half)} {
					_, _, err := read(t, o, Source{URL: serve(t, served)})
					if tt.by == "" {
						continue // Only a checksum could detect it.
					}
					want(t, err, ErrLength, tt.by, "cut short")
				}
			}
			for _, served := range [][]byte{tt.disk[:len(tt.disk)-100], gzipped(t, tt.disk[:len(tt.disk)-100])} {
				_, _, err := read(t, o, Source{URL: serve(t, served)})
				want(t, err, ErrLength, "cut short")
			}
		})
	}
}

// abrupt serves HTTP/1.0 without a length: the end of the connection may be that of the image, or a failure of the server.
func abrupt(t *testing.T, content []byte) string {
	t.Helper()
	return serveHandler(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, out, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprintf(out, "HTTP/1.0 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n%s", content)
		out.Flush()
	})
}

func TestServerWithoutALength(t *testing.T) {
	qcow2, gpt, raw := unxz(t, "real/v3.qcow2.xz"), gptDisk(2*mib), rawDisk(mib)
	packed := readFile(t, "real/plain.raw.xz")
	for _, tt := range []struct {
		name    string
		content []byte
		sum     string
		says    string // empty: it is accepted
	}{
		{"a disk that says where it ends", gpt, "", ""},
		{"half of it", gpt[:mib], "", "cut short"},
		{"a disk that does not", raw, "", "give a checksum"},
		{"the same with a checksum", raw, sha256Of(raw), ""},
		{"half of it, with the whole one's checksum", raw[:mib/2], sha256Of(raw), "sha256"},
		{"a qcow2, whose data may lie anywhere", qcow2, "", "give a checksum"},
		{"a qcow2 with a checksum", qcow2, sha256Of(qcow2), ""},
		{"a compressed stream", packed, "", ""},
		{"half of it", packed[:len(packed)/2], "", "ends early"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := read(t, newOpener(t), Source{URL: abrupt(t, tt.content), Checksum: tt.sum})
			if tt.says == "" && err != nil {
				t.Error(err)
			}
			if tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("error is %v, want %q", err, tt.says)
			}
		})
	}
}

func TestContentTypeOfAPage(t *testing.T) {
	for _, tt := range []struct {
		media   string
		content []byte
		refused bool
	}{
		{"text/html; charset=utf-8", rawDisk(mib), true},
		{"Application/JSON", rawDisk(mib), true},
		{"text/html", mbrDisk(2 * mib), false}, // a disk for certain, whatever the server reports
		{"text/html", unxz(t, "real/v3.qcow2.xz"), false},
		{"text/plain", rawDisk(mib), false},
		{"application/octet-stream", rawDisk(mib), false},
		{"", rawDisk(mib), false},
	} {
		url := serveHandler(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = []string{tt.media}
			w.Header().Set("Content-Length", fmt.Sprint(len(tt.content)))
			w.Write(tt.content)
		})
		_, err := newOpener(t).Open(timeout(t), Source{URL: url})
		if tt.refused {
			want(t, err, ErrUnsupported, "a page of type")
		} else if err != nil {
			t.Errorf("%s: %v", tt.media, err)
		}
	}
}

func sha256Of(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// FuzzMeasured reads partition tables and volume descriptors: any result is a usable length.
func FuzzMeasured(f *testing.F) {
	f.Add(gptDisk(mib)[:plainBytes], false)
	f.Add(mbrDisk(2 * mib)[:plainBytes], false)
	f.Add(isoDisk(mib)[:plainBytes], true)
	f.Fuzz(func(t *testing.T, start []byte, iso bool) {
		format := Raw
		if iso {
			format = ISO
		}
		if e := measured(start, format); e.least < 0 || (e.by == "") != (e.least == 0) {
			t.Errorf("%+v", e)
		}
		if is, ok := probeText(start); ok && is.name == "" {
			t.Error("a text without a name")
		}
	})
}
