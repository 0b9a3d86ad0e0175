// Package spec reads requests: it parses and checks what can be checked without the NAS, and knows the names and places that
// follow from a request. It makes no calls and imports nothing of the client.
//
// [Parse] turns a CreateRequest into a [VM]. [ParseImageJob] turns image_json of an ImagePrepare into an [ImageJob]. Errors are
// refusals with the code InvalidArgument that name the field and the allowed values. [DecodeJSON] rejects unknown keys.
//
//   - spec.go: [VM] and [Parse]; class.go, network.go, disk.go, image.go, hardware.go, userdata.go, metadata.go: its parts
//   - image_job.go: [ImageJob], the source of an image; image_prepared.go: [Image], its place on the NAS
//   - artifact.go: [ImageIdentity], the VMImage that an image is prepared for
//   - layout.go: [Layout], the tree of datasets; names.go: names that TrueNAS allows; macaddress.go: MAC addresses
//   - mark.go: [Mark], the proof that a VM belongs to this provider, in its description and in user properties
//
// Two things surprise. The id of a VM is derived from the provider's id and the owner's uid, or from the name ([VMID]), so that
// every replica derives the same id. And a hyphen in a name becomes an underscore on the NAS ([NASName]).
package spec
