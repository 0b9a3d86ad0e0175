// Package inventory looks up the VMs on a NAS without a call per lookup.
//
// [Cache] is a copy of the list of VMs. Events of the NAS keep it current, so that the polls of the manager cost no call in
// steady state. It is trusted only for VMs that it has: before a caller reports a VM as absent, it queries the NAS
// ([Cache.Read]). [Addresses] collects the IP addresses of guests in the background. [Share] lets concurrent callers share one
// call.
//
//   - cache.go: [Cache], which makes the calls
//   - roster.go: the copy and the rules that decide between replies and events that overtake each other
//   - addresses.go: [Addresses]
//   - share.go: [Share]
package inventory
