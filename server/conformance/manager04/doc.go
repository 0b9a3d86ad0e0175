// Package manager04 is VirtRigaud's manager of line 0.4 in miniature, for tests of providers.
//
// A [Manager] sends what that manager sends and acts on the answers as it does: it prepares an image, polls the task, prepares
// again, creates the VM, powers it and resizes it. It holds no clock: each step answers how long the manager would wait and why,
// and the test decides what to do meanwhile.
//
//	m := manager04.New(client)
//	vm := &manager04.VM{...}
//	for {
//		next := m.Reconcile(ctx, vm)
//		if next.Done() { break }
//		sleep(next.After)
//	}
//
// Most failures are not errors here: the manager records them as a reason and retries, and so does [Next].
package manager04
