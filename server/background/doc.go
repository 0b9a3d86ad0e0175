// Package background runs what goes on after an RPC was answered, once per key.
//
// A [Works] keeps one process from doing the same twice and remembers for a while why something failed. What has to outlive the
// process is on the NAS and not here.
package background
