package disk

import "bytes"

// signature is the beginning of a kind of file.
type signature struct {
	at    int
	magic string
	// name is the kind of the file: the name of a [Format], or words with their article.
	name string
	// advice is the remedy for a file that is not a disk image; empty for the general one.
	advice string
}

// unpackFirst is the advice for archives and compressions that this package cannot read.
const unpackFirst = "unpack it, and give the disk image that it holds"

// signatures are the signatures of files that are not raw disks. They include every format that qemu-img detects (block/*.c,
// functions named *_probe), supported or not: content that probes as such a format never passes as raw. The rest are files on
// download pages that users give by mistake instead of the disk image.
var signatures = []signature{
	{0, "QFI\xfb\x00\x00\x00\x01", "a qcow of version 1", "convert it: qemu-img convert -O qcow2"},
	{0, "QFI\xfb", string(QCOW2), ""},
	{0, "QED\x00", "a qed image", "convert it: qemu-img convert -O qcow2"},
	{0, "KDMV", string(VMDK), ""},
	{0, "COWD", "a vmdk of version 3 (COWD)", "convert it: qemu-img convert -O qcow2"},
	{0x40, "\x7f\x10\xda\xbe", string(VDI), ""},
	{0, "vhdxfile", string(VHDX), ""},
	{0, "conectix", dynamicVHD, ""},
	{0, "LUKS\xba\xbe", "a luks container", "decrypt it first"},
	{0, "WithoutFreeSpace", "a parallels image", "convert it: qemu-img convert -O qcow2"},
	{0, "WithouFreSpacExt", "a parallels image", "convert it: qemu-img convert -O qcow2"},
	{0, "Bochs Virtual HD Image", "a bochs image", "convert it: qemu-img convert -O qcow2"},
	{0, "#!/bin/sh\n#V2.0 Format\nmodprobe cloop", "a cloop image", "convert it: qemu-img convert -O qcow2"},
	{0, "shdw", "an asif image", "convert it to raw first"},

	{0x8001, "CD001", string(ISO), ""},

	{0, "\x1f\x8b\x08", "doubly compressed (gz)", unpackFirst},
	{0, "\xfd7zXZ\x00", "doubly compressed (xz)", unpackFirst},
	{0, "\x28\xb5\x2f\xfd", "doubly compressed (zst)", unpackFirst},
	{0, "BZh", "doubly compressed (bz2)", unpackFirst},

	{0, "\x04\x22\x4d\x18", "an lz4 stream", unpackFirst},
	{0, "\x02\x21\x4c\x18", "an lz4 stream", unpackFirst},
	{0, "\x5d\x00\x00", "an lzma stream", unpackFirst},
	{0, "\x89LZO\x00\x0d\x0a\x1a\x0a", "an lzop stream", unpackFirst},
	{0, "LZIP", "an lzip stream", unpackFirst},
	{0, "\x1f\x9d", "a .Z stream (compress)", unpackFirst},
	{0, "\x1f\xa0", "a .Z stream (compress)", unpackFirst},
	{0, "7z\xbc\xaf\x27\x1c", "a 7z archive", unpackFirst},
	{0, "Rar!\x1a\x07", "a rar archive", unpackFirst},
	{0, "MSCF", "a cab archive", unpackFirst},
	{0, "MSWIM\x00\x00\x00", "a WIM image", "install from an ISO that holds it"},
	{0, "!<arch>\n", "an ar archive, such as a .deb package", ""},
	{0, "\xed\xab\xee\xdb", "an rpm package", ""},
	{0, "070701", "a cpio archive, such as an initramfs", ""},
	{0, "070707", "a cpio archive", ""},
	{0, "\xc7\x71", "a cpio archive", ""},
	{0, "xar!", "a xar archive", unpackFirst},
	{0, "PK\x03\x04", "a zip archive", unpackFirst},
	{0, "PK\x05\x06", "an empty zip archive", ""},
	{257, "ustar", "a tar archive (or an ova)", unpackFirst},

	{0, "\x3a\xff\x26\xed", "an Android sparse image", "convert it: simg2img"},
	{0, "ANDROID!", "an Android boot image", ""},
	{0, "\x27\x05\x19\x56", "a U-Boot image", ""},
	{0, "\xd0\x0d\xfe\xed", "a device tree or FIT image", ""},
	{0, "hsqs", "a squashfs file system", "it has no boot loader; give the disk image"},
	{0, "-rom1fs-", "a romfs file system", ""},
	{0, "\x7fELF", "an ELF program", ""},
	{0, "partclone-image", "a partclone image", "restore it to a raw disk first"},
	{0, "EVF\x09\x0d\x0a\xff\x00", "an EWF image", "convert it to raw first"},
	{0, "VMA\x00", "a Proxmox VMA backup", "unpack it: vma extract"},
	{0, "IsZ!", "an ISZ image", "convert it to ISO first"},
	{0, "DAA\x00", "a DAA image", "convert it to ISO first"},
	{0, "%PDF-", "a PDF document", ""},
	{0, "SQLite format 3\x00", "an SQLite database", ""},
	{0, "d8:announce", "a torrent", "give the address of the file itself"},
	{0, "zsync: ", "a zsync file", "give the address of the file itself"},
}

// probeBytes is the maximum end of a signature.
const probeBytes = 0x8001 + 5

// generalAdvice is for files without a more specific advice.
const generalAdvice = "give the address of a disk image"

// probe detects the format from the first bytes; a raw disk if no format matches.
func probe(h *head) (signature, error) {
	start, err := h.upTo(probeBytes)
	if err != nil {
		return signature{}, err
	}
	for _, s := range signatures {
		if len(start) >= s.at && bytes.HasPrefix(start[s.at:], []byte(s.magic)) {
			return s, nil
		}
	}
	switch {
	case isDescriptor(start):
		return signature{name: vmdkDescriptor}, nil
	case isProgram(start):
		return signature{name: "a Windows or EFI program"}, nil
	}
	if s, ok := probeText(start); ok {
		return s, nil
	}
	return signature{name: string(Raw)}, nil
}

// isProgram finds the header of a PE file at the offset in its DOS header. The two letters at its beginning are not sufficient,
// because boot code may begin with them.
func isProgram(b []byte) bool {
	if len(b) < 64 || !bytes.HasPrefix(b, []byte("MZ")) {
		return false
	}
	at := uint64(b[60]) | uint64(b[61])<<8 | uint64(b[62])<<16 | uint64(b[63])<<24
	return at+4 <= uint64(len(b)) && bytes.HasPrefix(b[at:], []byte("PE\x00\x00"))
}

// notADisk returns the refusal of a file of this kind.
func notADisk(s signature) error {
	return refusal(ErrUnsupported, "content is %s, allowed are disk images %s: %s", s.name, formats, orDefault(s.advice, generalAdvice))
}
