// Package disk reads disk images from where users keep them and hands their bytes on, checked.
//
// An [Opener] knows the policy: which addresses and directories may be read, how large an image may be. Open fetches
// no more than the head of an image, decides from the content what it is, and refuses what is hostile before anything
// else is read. WriteTo then streams the decompressed image to a writer:
//
//	img, err := opener.Open(ctx, disk.Source{URL: "https://example.org/disk.raw.xz", Checksum: sum})
//	if err != nil { … }
//	defer img.Close()
//	n, err := img.WriteTo(upload) // the upload is called "image" + img.Suffix()
//
// Sources are http(s)://, s3://, oci://, file:// and plain paths. Compression (gz, xz, zst, bz2) and format (qcow2,
// vmdk, vdi, vhdx, vhd, raw, ISO 9660) are recognized by content; names are never trusted.
//
// Exports go the other way: [Opener.Create] begins an [Upload] to a staging place, whose object appears when it is
// committed and not before; [WriteVMDK] and [CompressedQCOW2] rewrite what the NAS makes on the way there. Staging
// places (pvc:// and nfs:// besides s3://) are read by [Opener.OpenStaged] and by nothing else.
//
// Three things surprise. The format is never converted: a qcow2 leaves as the qcow2 it came as, because TrueNAS
// converts it; only the footer of a fixed VHD is taken off, which makes it raw. The last bytes of an image are held
// back until its length, its checksum and its end have been verified, so a receiver of a bad image never has the whole
// of it. And the length of a compressed raw image may be unknown until the last byte (see [Image.VirtualBytes]).
//
// Nothing is written to local disk other than a mounted staging place, and memory does not grow with the image. The only
// large buffers are the window that a compressed stream asks for, at most [Options.MaxWindow] and of more than 32 MiB for one
// image at a time, and what it takes to unpack two blocks of an xz file at the same time, which one image at a time does.
// Unpacked with the usual settings of the xz and zstd programs, an image takes about 20 MiB, and of an xz file that was
// packed with several threads up to 64 MiB.
package disk
