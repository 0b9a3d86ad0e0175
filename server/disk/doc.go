// Package disk reads disk images from their sources, checks them and streams their bytes.
//
// An [Opener] has the policy: the allowed addresses and directories, and the limits of an image. Open fetches only the head of
// an image, detects its format from the content, and refuses a hostile image before it reads anything else. WriteTo then
// streams the decompressed image to a writer:
//
//	img, err := opener.Open(ctx, disk.Source{URL: "https://example.org/disk.raw.xz", Checksum: sum})
//	if err != nil { … }
//	defer img.Close()
//	n, err := img.WriteTo(upload) // the upload is called "image" + img.Suffix()
//
// Sources are http(s)://, s3://, oci://, file:// and plain paths. Compression (gz, xz, zst, bz2) and format (qcow2, vmdk, vdi,
// vhdx, vhd, raw, ISO 9660) are recognized by content; names are never trusted.
//
// For exports, [Opener.Create] begins an [Upload] to a staging place, whose object appears only at Commit; [WriteVMDK] and
// [CompressedQCOW2] rewrite the NAS's image for the upload. Only [Opener.OpenStaged] reads staging places (pvc:// and nfs:// in
// addition to s3://).
//
// Three things surprise. The format is never converted: a qcow2 stays a qcow2, because TrueNAS converts it; only the footer of
// a fixed VHD is removed, which makes it raw. The last bytes of an image are held back until its length, its checksum and its
// end have been verified, so a receiver of a bad image never has the complete image. And the length of a compressed raw image
// may be unknown until the last byte (see [Image.VirtualBytes]).
//
// The package writes to local disk only in a mounted staging place, and its memory does not grow with the image. The only large
// buffers are the window of a compressed stream, at most [Options.MaxWindow] and above 32 MiB for one image at a time, and the
// buffers for two blocks of an xz file that are decompressed at the same time, for one image at a time. With the usual settings
// of the xz and zstd programs, an image takes about 20 MiB, and an xz file that was compressed with several threads up to 64
// MiB.
package disk
