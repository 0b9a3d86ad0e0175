// Package conformance contains VirtRigaud's provider contract as tests, for any provider.
//
// It uses a provider as the manager does, through a [providerv1.ProviderClient], and does not know its backend. A provider's
// own test calls [Run]; from outside, the package's test checks a running service:
//
//	go test ./server/conformance -provider HOST:PORT [-provider-tls-dir DIR] [-provider-image PATH]
//	        [-provider-image-url URL] [-provider-network NAME] [-provider-pool NAME]
//	        [-provider-staging URL -provider-staging-at ENDPOINT-OR-FOLDER]
//
// Two things surprise. Every operation is called at least twice, because the manager repeats calls after conflicts, restarts
// and lost responses. And RPCs that the provider does not advertise are called too: they must return Unimplemented, and never
// report success without an effect.
//
// With a staging place, disks are moved: the disk of a VM is exported and imported in each advertised format, and checksums are
// compared with the bytes, and the new VM's disk with the old one's.
//
// testdata/recorded.jsonl contains the requests of the manager v0.3.11 over the lives of four VMs, to a provider that returned
// only success: one line for each distinct request, in order, in protobuf's JSON. [Run] replays it with the target's ids,
// names, image, network and pool.
package conformance
