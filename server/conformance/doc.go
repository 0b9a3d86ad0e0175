// Package conformance holds VirtRigaud's provider contract as tests, for any provider.
//
// It sees a provider as the manager does, through a [providerv1.ProviderClient], and knows nothing of what is behind
// it. A provider's own test calls [Run]; from outside, the package's test drives a service that runs somewhere:
//
//	go test ./server/conformance -provider HOST:PORT [-provider-tls-dir DIR] [-provider-image PATH]
//	        [-provider-image-url URL] [-provider-network NAME] [-provider-pool NAME]
//	        [-provider-staging URL -provider-staging-at ENDPOINT-OR-FOLDER]
//
// Two things surprise. Every operation is called at least twice, because the manager repeats calls after conflicts, restarts
// and lost responses. And calls that the provider does not advertise are checked too: they must return Unimplemented, and
// never report success without an effect.
//
// Disks are moved when there is a staging place: in each format that is offered the disk of a VM goes out and comes in
// again, checksums are compared with the bytes, and the new VM's disk with the old one's.
//
// testdata/recorded.jsonl is what the manager, v0.3.11, sent over the lives of four VMs to a provider that answered
// everything with success: one line for each distinct request, in order, in protobuf's JSON. [Run] replays it with the
// recording's ids, names, image, network and pool replaced by the target's.
package conformance
