// Package background runs work that continues after its RPC has returned, once per key.
//
// A [Works] prevents duplicate work within one process and keeps failures for a while. State that must outlive the process is
// on the NAS.
package background
