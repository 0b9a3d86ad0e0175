// Package manager04 is VirtRigaud's manager of line 0.4 in miniature, for tests of providers.
//
// A [Manager] sends the manager's requests and handles the replies as the manager does: it prepares an image, polls the task,
// prepares again, creates the VM, powers it and resizes it. It has no clock: each step returns the manager's next wait and its
// reason, and the test decides how to spend it.
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
