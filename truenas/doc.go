// Package truenas is a client for the JSON-RPC API of TrueNAS SCALE, releases 25.04.2 to 27: VMs,
// their devices, datasets, snapshots, jobs and files.
//
//	c, err := truenas.New(truenas.Config{URL: "https://nas", Username: "svc", APIKey: key, Fingerprint: pin})
//	…
//	defer c.Close()
//	vm, err := c.VMs.ByName(ctx, "web_1")
//	if errors.Is(err, truenas.ErrNotFound) { … }
//
// A [Client] keeps one connection and is safe for concurrent use. It connects at the first call,
// pins the newest API version that both sides support, logs in, and reconnects when the link is
// lost.
//
// Points to know:
//
//   - The client repeats a read if the link is lost while the read runs. It never
//     repeats a change: if a change was sent and its reply was lost, the error is
//     [ErrUncertain], and the caller checks the NAS before it retries.
//   - The end of a context stops the waiting, not the work: TrueNAS runs the call
//     to the end, and the call keeps its slot among those in flight until then.
//   - Every failure is an [Error]. Distinguish failures with [errors.Is] and the
//     Err values of this package; only its classifier reads errnos and texts.
//   - TrueNAS runs long operations as jobs. Methods that return a [JobID] start a
//     job; [Jobs.Wait] waits for it and returns its failure.
package truenas
