package spec

// User properties of images, of imported disks, and of their snapshots.
const (
	PropSource   = "virtrigaud:source"   // the URL, if it contains no secret
	PropFormat   = "virtrigaud:format"   // as announced
	PropChecksum = "virtrigaud:checksum" // type:hexadecimal, of the file as published
	PropBytes    = "virtrigaud:bytes"    // the disk's size
	PropUsed     = "virtrigaud:used"     // the time of the last VM that was made from it, RFC 3339
	PropMedia    = "virtrigaud:media"    // on the dataset of an installer ISO: [MediaISO]
)

// MediaISO is the value of [PropMedia]. MediaFile is the name of the file in that dataset.
const (
	MediaISO  = "iso"
	MediaFile = "image.iso"
)
