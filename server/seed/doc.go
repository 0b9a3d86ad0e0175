// Package seed makes the NoCloud seed of a VM, the ISO image from which cloud-init and Talos read user data, meta data and the
// network configuration at the first start, and reads such images back. It makes no calls: the caller uploads the image.
//
// [New] decides which files a [spec.VM] needs; [Seed.ISO] renders them and [Seed.FileName] derives the name from the contents.
// [ReadFile] reads one file of an image that may be hostile.
//
//   - seed.go: [New], the network configuration
//   - meta.go: the meta data, with the caller's keys and the provider's
//   - iso.go: the writer; read.go: the reader
//
// One thing surprises: files are never written to a disk of the provider, because user data holds secrets.
package seed
