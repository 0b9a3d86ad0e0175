// Package truenas is a client for the JSON-RPC API of TrueNAS SCALE, releases
// 25.04.2 to 27: virtual machines, their devices, datasets, snapshots, jobs and
// files.
//
//	c, err := truenas.New(truenas.Config{URL: "https://nas", Username: "svc", APIKey: key, Fingerprint: pin})
//	…
//	defer c.Close()
//	vm, err := c.VMs.ByName(ctx, "web_1")
//	if errors.Is(err, truenas.ErrNotFound) { … }
//
// A [Client] keeps one connection and is safe for any number of goroutines. It
// connects at the first call, pins the newest API version that both sides know,
// logs in, and connects again by itself when the link is lost.
//
// What will surprise:
//
//   - A read is repeated when the link is lost while it runs. A change never
//     is: it answers [ErrUncertain] when it was sent and its reply was lost, and
//     the caller looks before it tries again.
//   - A context that ends stops the waiting, not the work: TrueNAS runs the call
//     to its end, and the call keeps its place among those in flight until then.
//   - Every failure is an [Error] and is told apart with [errors.Is] and the Err
//     values of this package; numbers and texts are looked at in one place only.
package truenas
