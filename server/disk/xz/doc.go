// Package xz unpacks .xz files whose blocks are plain LZMA2, which is what the xz program writes unless it is told
// otherwise. It is there for speed: the libraries at hand reach two thirds of the xz program's.
//
// Everything that the format lets one verify is verified: the checks of headers, blocks and indexes, and the index
// against the blocks. [Handles] tells beforehand whether a file is one for this package; others (with filters for
// machine code, say) are for a more general decoder.
package xz
