// Package server implements the provider.v1 RPCs on a TrueNAS.
//
// A [Server] answers the VirtRigaud manager, the Omni adapter and grpcurl alike. It keeps no
// state of its own: what it knows is on the NAS, in VM records, datasets and user properties, so
// that a restart loses nothing and two replicas agree. What it holds in memory is a copy of the
// NAS's list of VMs, kept true by the NAS's events; "absent" is always confirmed with the NAS
// before it is said.
//
// Three things surprise. A VM's id is its SMBIOS UUID, derived from the provider's id and the
// owner's uid (or the name, for callers that send no owner). Create converges: whatever an
// earlier attempt left is completed, never made twice. And handlers return plain errors;
// [Interceptor] gives them their gRPC codes, since the manager's circuit breaker reads those.
package server
